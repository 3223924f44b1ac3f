"""The certificate authorities that are trusted when a server is asked over https."""

import os
from pathlib import Path

import certifi

from pipeline.errors import SettingsError

_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE")


def certificate_authorities() -> str:
    """The file of trusted certificates: that of the first variable that names one, or certifi's.

    GDAL is to be told (`GDAL_CURL_CA_BUNDLE`): in rasterio's wheels it knows certifi's only.

    Raises:
        SettingsError: The variable names no file or folder.
    """
    for name in _VARIABLES:
        if path := os.environ.get(name):
            if not Path(path).exists():
                raise SettingsError(
                    f"{name}={path}",
                    "there is no such file",
                    "Name a file of the certificates that are trusted (PEM), or unset it",
                )
            return path
    return certifi.where()
