"""What Prefect shows of a map: its picture, links to map and report, its numbers, its failures."""

import base64
from pathlib import Path
from urllib.parse import quote

from flows.execution.prefect_api import create_markdown_artifact, create_table_artifact
from pipeline.io.gdal_s3 import s3_endpoint
from pipeline.io.store import Store, public_url
from pipeline.layout import PREVIEW, REPORT
from pipeline.product.layers import CLASS
from pipeline.product.report import Summary
from pipeline.product.report_markdown import markdown_text, summary_markdown

# A preview has some 0.2 MB. Prefect's server keeps artifacts in its database, and sends them whole.
_LARGEST_PICTURE = 1_000_000


def publish_map_artifacts(summary: Summary, store: Store) -> None:
    """Create the artifacts "map-report" and, where cells failed, "failed-cells"."""
    text = f"{map_markdown(store)}\n{summary_markdown(summary)}"
    create_markdown_artifact(text, key="map-report")
    if summary.failures:
        table = [
            {"cell": failure.cell, "error": failure.kind, "why": failure.error}
            for failure in summary.failures
        ]
        create_table_artifact(table, key="failed-cells", description="cells that failed, and why")


def map_markdown(store: Store) -> str:
    """The picture of the map in a run's folder, and where map and report are, in Markdown.

    The picture is in the text itself, so that it shows wherever the folder is. It is left out
    where there is none, or where it is very large.
    """
    lines = []
    if store.exists(PREVIEW) and len(picture := store.read(PREVIEW)) <= _LARGEST_PICTURE:
        lines.append(f"![The map](data:image/png;base64,{base64.b64encode(picture).decode()})\n")
    for title, key in (("Map", CLASS.mosaic_file), ("Report", REPORT)):
        if store.exists(key):
            path = public_url(store.path(key))
            lines.append(f"- {title}: [{markdown_text(path)}]({_web_address(path)})")
    return "\n".join(lines) + "\n"


def _web_address(path: str) -> str:
    """The address under which a browser opens a file: of this machine, or of object storage."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return Path(path).absolute().as_uri()
    if scheme != "s3":
        return quote(path, safe=":/%")
    bucket, _, key = rest.partition("/")
    endpoint = s3_endpoint()
    host = f"{public_url(endpoint).rstrip('/')}/{bucket}" if endpoint else ""
    return f"{host or f'https://{bucket}.s3.amazonaws.com'}/{quote(key)}"
