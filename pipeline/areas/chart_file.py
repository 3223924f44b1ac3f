"""Charts as files: PNG, or SVG whose texts stay texts."""

import io
import warnings
from collections.abc import Callable

import matplotlib
from matplotlib.figure import Figure

from pipeline.io.output_file import output_place

CHART_ENDINGS = (".png", ".svg")
INK, FAINT = "#1b1f24", "#6b7280"
"""The colours of a chart's texts."""


def chart_bytes(figure: Figure, form: str) -> bytes:
    """A figure as "png" or "svg"; the same figure gives the same bytes."""
    content = io.BytesIO()
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context({"svg.hashsalt": "timesen", "svg.fonttype": "none"}),
    ):
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        about = {"Software": "timesen"} if form == "png" else {"Creator": "timesen", "Date": None}
        figure.savefig(content, format=form, metadata=about)
    return content.getvalue()


def write_chart(draw: Callable[[str], bytes], target: str) -> None:
    """Write what `draw` gives for "png" or "svg" to a path or an s3:// URL with that ending.

    Raises:
        OutputError: The target is no place for a picture.
        OutputUnwritable: It cannot be written.
    """
    store, name = output_place(target, CHART_ENDINGS, "picture")
    store.write(name, draw(name.rpartition(".")[2].lower()))
