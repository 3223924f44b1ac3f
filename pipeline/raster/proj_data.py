"""A check that coordinate reference systems can be looked up, before anything is planned."""

import os

import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform

from pipeline.errors import SettingsError

_VARIABLES = ("PROJ_DATA", "PROJ_LIB")  # in the order in which PROJ looks at them
_UTM = 32631
_PLACE = (3.0, 50.0)  # on its central meridian
_EASTING = 500_000.0


def require_proj_data() -> None:
    """Require that PROJ's data are those of rasterio's PROJ.

    The environment may name those of another installation (of PostGIS, conda or OSGeo4W). Then
    every raster would fail.

    Raises:
        SettingsError: They are not; it names the variable.
    """
    if _works():
        return
    given = [f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name)]
    if given:
        raise SettingsError(
            " and ".join(given),
            f"rasterio cannot look up EPSG:{_UTM} with the PROJ data that the environment names",
            f"Unset {' and '.join(text.partition('=')[0] for text in given)}: rasterio has its own",
        )
    raise SettingsError(
        "the environment's rasterio",
        f"it cannot look up EPSG:{_UTM}, so its PROJ data are missing or of another version",
        "Install rasterio anew, with pip from its wheel",
    )


def _works() -> bool:
    try:
        with rasterio.Env():  # else GDAL prints its own message, too
            utm = CRS.from_epsg(_UTM)
            (easting,), _ = transform(CRS.from_epsg(4326), utm, [_PLACE[0]], [_PLACE[1]])
            return utm.to_epsg() == _UTM and abs(easting - _EASTING) < 1
    except (RasterioError, CRSError):
        return False
