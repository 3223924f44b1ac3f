"""GDAL's configuration for object stores."""

import os
from urllib.parse import urlsplit

from pipeline.io.certificates import certificate_authorities

_PATIENCE = {  # of GDAL, which otherwise tries once and waits for ever
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "15",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
}


def gdal_object_store_options() -> dict[str, str]:
    """GDAL's configuration for the object store that the environment names, or AWS's."""
    return {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_CURL_CA_BUNDLE": certificate_authorities(),
        **_PATIENCE,
        **gdal_s3_options(s3_endpoint()),
    }


def gdal_s3_options(endpoint: str | None) -> dict[str, str]:
    """GDAL's configuration for an S3 server that is not AWS's; empty without one."""
    if not endpoint:
        return {}
    parts = urlsplit(endpoint)
    return {
        "AWS_S3_ENDPOINT": parts.netloc,
        "AWS_HTTPS": "NO" if parts.scheme == "http" else "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def s3_endpoint() -> str | None:
    """The S3 server that the environment names by AWS's variables, if it names one."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
