"""The flow that embeds ground photos: a Dask task per part; this process alone writes the rows."""

import hashlib
import json
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from flows.execution.prefect_api import create_markdown_artifact, flow, get_run_logger
from flows.execution.progress import RunProgress, UnitCount, report_progress
from flows.execution.work_queue import call, open_queue
from flows.settings.dataset import PhotoSettings
from models.encoder.inference import one_core_per_thread
from models.errors import TimesenError, WorldError
from models.towers.image_tower import ClipImageTower
from pipeline.ground_views.photos import Photo, embed_photos, lucas_photos, table_photos
from pipeline.ground_views.table import GroundCard, GroundTable
from pipeline.ground_views.table_writer import GroundFolder
from pipeline.io.store import Store, public_text, public_url

_OTHERS = "photos without a direction"


class PhotosFailed(WorldError):
    """Parts of the photos that could not be embedded, in a run that went on without them."""


@flow(
    name="dataset-photos",
    flow_run_name="{settings.photos} → {settings.out}",
    persist_result=False,
)
def dataset_photos(settings: PhotoSettings) -> GroundCard:
    """Embed the photos and write their table; started again, it goes on.

    Photos that cannot be read are left out, counted, and named in `unreadable.csv`. Raises
    UserError for what the user must mend; PhotosFailed once all parts that can be are done;
    WorldError where storage or cluster fail as a whole.
    """
    report_progress(RunProgress("looking for photos"))
    source = Store(settings.photos)
    if settings.table is None:
        photos, others = lucas_photos(source)
    else:
        photos, others = table_photos(Path(settings.table)), 0
    report_progress(RunProgress("loading the image tower"))
    tower = ClipImageTower(settings.tower, settings.revision)
    folder = GroundFolder(
        Store(settings.out),
        {
            "tower": tower.name,
            "revision": tower.revision,
            "photos": _hash(photos),
            "part_size": settings.part_size,
        },
    )
    folder.open()
    if folder.is_finished():
        return GroundTable.open(settings.out).card
    _embed_parts(settings, photos, folder, tower.revision)
    report_progress(RunProgress("finishing"))
    card = folder.finish(
        "photos",
        (tower.name, tower.revision, tower.dim),
        {
            "photos": public_url(settings.photos),
            "table": None if settings.table is None else Path(settings.table).name,
            "given": len(photos),
        },
        {_OTHERS: others} if others else {},
        settings.attribution,
    )
    create_markdown_artifact(ground_summary(card), key="ground-table")
    return card


def ground_summary(card: GroundCard) -> str:
    """A ground table in a few lines of Markdown."""
    lines = [f"{card.rows} {card.kind} of {card.points} points, embedded by {card.tower}.", ""]
    lines += [f"- left out, {reason}: {count}" for reason, count in card.left_out.items()]
    return "\n".join(lines)


def _embed_parts(
    settings: PhotoSettings, photos: Sequence[Photo], folder: GroundFolder, revision: str
) -> None:
    """Embed the parts that are not done, on the cluster; raises PhotosFailed."""
    parts = {
        f"{number:06d}": tuple(photos[start : start + settings.part_size])
        for number, start in enumerate(range(0, len(photos), settings.part_size))
    }
    done = folder.finished_parts() & parts.keys()
    count = UnitCount(
        {name: len(part) for name, part in parts.items()},
        done,
        f"parts of {settings.part_size} photos",
    )
    get_run_logger().info("%s of %s parts to embed", len(parts) - len(done), len(parts))
    report_progress(count.progress("embedding"))
    calls = {
        name: call(embed_part, Store(settings.photos), part, settings.tower, revision)
        for name, part in parts.items()
        if name not in done
    }
    if not calls:
        return

    def keep(name: str, found: tuple[pa.Table, dict[str, str]]) -> None:
        folder.write_part(name, *found)
        count.finished(name)
        report_progress(count.progress("embedding"))

    with open_queue(settings.cluster) as queue:
        errors = queue.map(calls, keep, lambda name, _: count.failed(name))
    if errors:
        first = errors[0]
        if isinstance(first, TimesenError):
            raise first
        raise PhotosFailed(
            public_text(
                f"{len(errors)} of {len(parts)} parts failed, such as: {first}. What was embedded "
                "is kept; start again to try these once more."
            )
        ) from first


def embed_part(
    source: Store, photos: Sequence[Photo], tower: str, revision: str
) -> tuple[pa.Table, dict[str, str]]:
    """Embed a part on a worker: its rows, and the reasons by the photos that cannot be read."""
    one_core_per_thread()
    return embed_photos(source, photos, _tower(tower, revision))


_loading = threading.Lock()


def _tower(spec: str, revision: str) -> ClipImageTower:
    """The tower, loaded once per process, by the first of its threads that needs it."""
    with _loading:
        return _loaded(spec, revision)


@lru_cache(maxsize=1)
def _loaded(spec: str, revision: str) -> ClipImageTower:
    return ClipImageTower(spec, revision)


def _hash(photos: Sequence[Photo]) -> str:
    described = json.dumps([[p.id, p.view, p.key, p.depicts] for p in photos])
    return hashlib.sha256(described.encode()).hexdigest()
