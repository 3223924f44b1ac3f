"""What a command says of a raster that it wrote: the path for GDAL and QGIS, and what they need."""

import os

from rich.console import Console

from flows.execution.console import say
from pipeline.io.gdal_s3 import gdal_s3_options, s3_endpoint
from pipeline.io.store import Store, public_url

_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def say_raster(console: Console, label: str, store: Store, key: str) -> None:
    """Print the path under which GDAL opens a key, and on object storage the settings for it."""
    say(console, f"{label}{store.gdal_path(key)}")
    if store.is_remote:
        settings = " ".join(f"{name}={value}" for name, value in _settings().items())
        say(
            console,
            f"{' ' * len(label)}GDAL and QGIS open this path with these settings (environment "
            f"variables): {settings}, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_NO_SIGN_REQUEST=YES where the bucket is public",
        )


def _settings() -> dict[str, str]:
    """GDAL's settings for the object storage that the environment names, without keys."""
    region = {name: os.environ[name] for name in _REGIONS if os.environ.get(name)}
    endpoint = s3_endpoint()
    own = gdal_s3_options(public_url(endpoint) if endpoint else None)
    return {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", **own, **region}
