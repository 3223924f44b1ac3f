"""The command `timesen query`: a heat map of where a run's embeddings are similar to something."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.app import argument, command_app
from flows.cli.gdal_place import say_raster
from flows.cli.input_checks import require_run
from flows.execution.console import PlainConsole, say
from models.errors import UserError
from pipeline.io.store import Store

if TYPE_CHECKING:
    import numpy as np

query_app = command_app(
    "query",
    examples=('timesen query runs/a "vineyard"', "timesen query runs/a --like 4.36,50.85"),
)


@query_app.default
def run_query(
    folder: Annotated[str, argument("RUN", "A run that kept embeddings.")],
    words: Annotated[
        str | None,
        argument("WORDS", "What to look for: vineyard; or several words with commas."),
    ] = None,
    /,
    *,
    like: Annotated[
        str | None,
        Parameter(
            metavar="LON,LAT", allow_leading_hyphen=True, help="Look for what is like this place."
        ),
    ] = None,
    out: Annotated[
        str | None,
        Parameter(metavar="FOLDER", help="The map's folder; default: one in the run's folder."),
    ] = None,
) -> int:
    """Show where a run's pixels are similar to words, or to another pixel: a heat map."""
    if (words is None) == (like is None):
        raise UserError(
            "timesen query", "it needs one thing to look for", "Give either words or --like LON,LAT"
        )
    place = None if like is None else _place(like)
    require_run(folder)
    # Imported here: torch and Dask take seconds, which a mistake need not wait for.
    import numpy as np
    from dask.system import CPU_COUNT
    from rich.progress import track

    from pipeline.classification.asked_words import asked_embedding, run_checkpoint
    from pipeline.classification.similarity import (
        embedding_at,
        open_embedded_run,
        publish_similarity,
        write_similarity,
    )
    from pipeline.product.layers import SIMILARITY

    console = PlainConsole()
    run = open_embedded_run(folder)
    question = str(words if like is None else like)
    if place is None:
        wanted = asked_embedding(run_checkpoint(run.store, run.manifest), question)
    else:
        wanted = embedding_at(run, *place)
    target = Store(out or f"{run.store.root.rstrip('/')}/queries/{_named(question)}")

    def write(item: Mapping[str, Any]) -> "np.ndarray":
        return write_similarity(run, item, wanted, target)

    with ThreadPoolExecutor(CPU_COUNT) as pool:
        cells = track(
            pool.map(write, run.items), "comparing", len(run.items), console=console, transient=True
        )
        counts = sum(cells, np.zeros(1, np.int64))
    low, high = publish_similarity(
        run, counts, {"words" if like is None else "like": question}, target
    )
    say_raster(console, "Similarity  ", target, SIMILARITY.mosaic_file)
    say(
        console,
        f"Cosines of {low:.3f} to {high:.3f} (2 % and 98 % of the pixels lie below); the layer "
        "holds them times 10000.",
    )
    return 0


def _place(like: str) -> tuple[float, float]:
    try:
        lon, lat = (float(part) for part in like.split(","))
    except ValueError:
        raise UserError(like, "no place", "Give LON,LAT in degrees, such as 4.36,50.85") from None
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise UserError(like, "no place on Earth", "Give longitude first, then latitude")
    return lon, lat


def _named(question: str) -> str:
    return re.sub(r"[^\w.,-]+", "-", question).strip("-")[:80] or "question"
