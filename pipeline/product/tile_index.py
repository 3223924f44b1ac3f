"""An index of rasters of a UTM zone for GDAL's driver GTI (https://gdal.org/drivers/raster/gti.html).

It is a GeoPackage with the place and the outline of each raster, which GDAL 3.9 and later versions
open as one raster (`….gti.gpkg`). They read what a window needs, where a VRT is read whole. GDAL's
own `gdaltindex` opens every raster, and writes no colours.

There is one for each zone, without a warp. The driver could show rasters of several zones in one
CRS, but GDAL 3.10 then opens ten a second, and sets pixels to nodata where the outline of a raster
meets a window and none of its pixels does.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import shapely

from models.files.process_mark import temporary_prefix
from pipeline.product.vrt import GDAL_TYPES, Band, Frame, band_xml, overview_factors


def index_key(stem: str, epsg: int) -> str:
    """The name of the index of a zone's rasters: `class-epsg32631.gti.gpkg`.

    GDAL's driver GTI knows its indexes by the ending.
    """
    return f"{stem}-epsg{epsg}.gti.gpkg"


# A GeoPackage says when it was written. The same rasters are to give the same bytes.
_WRITTEN = "2000-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class IndexedRaster:
    """A raster of an index: its path from the index on, its name, and its frame."""

    path: str
    name: str
    frame: Frame


def tile_index(
    epsg: int,
    frame: Frame,
    bands: Sequence[Band],
    rasters: Sequence[IndexedRaster],
    tags: Mapping[str, str],
) -> bytes:
    """The index of rasters of one grid as a GeoPackage. No raster is opened.

    Args:
        epsg: The code of their CRS.
        frame: A frame around them, on their grid.
        bands: Their bands.
        rasters: The rasters. GDAL looks for them from the index on if it is opened by its path, and
            from the current folder on where "GTI:" stands before it.
        tags: The metadata of the whole.
    """
    # Imported here: pandas takes a second, which who only reads a map need not wait for.
    import geopandas as gpd
    import pyogrio

    outlines = shapely.box(*np.array([raster.frame.bounds for raster in rasters]).T)
    columns = {
        "location": [raster.path for raster in rasters],
        "name": [raster.name for raster in rasters],
    }
    table = gpd.GeoDataFrame(columns, geometry=outlines, crs=f"EPSG:{epsg}")
    with TemporaryDirectory(prefix=temporary_prefix("index")) as folder:
        path = Path(folder) / "index.gpkg"
        before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _WRITTEN})
        try:
            # Some metadata makes the table in which the next statement puts more of it.
            pyogrio.write_dataframe(
                table, path, layer="rasters", driver="GPKG", layer_metadata={"RESX": "0"}
            )
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE gpkg_metadata SET metadata = ?", (_xml(frame, bands, tags),))
        return path.read_bytes()


def _xml(frame: Frame, bands: Sequence[Band], tags: Mapping[str, str]) -> str:
    """What GDAL would else ask of the rasters, in the form that a GeoPackage's layer keeps."""
    left, bottom, right, top = (f"{edge:.17g}" for edge in frame.bounds)
    pixel = f"{frame.transform.a:.17g}"
    described = "".join(
        f'<Band band="{number}" dataType="{GDAL_TYPES[band.dtype]}">{band_xml(band)}</Band>\n'
        for number, band in enumerate(bands, 1)
    )
    overviews = "".join(
        f"<Overview><Factor>{factor}</Factor></Overview>\n" for factor in overview_factors(frame)
    )
    metadata = "".join(
        f"<MDI key={quoteattr(key)}>{escape(value)}</MDI>" for key, value in tags.items()
    )
    return (
        '<GDALMultiDomainMetadata><Metadata domain="xml:GTI" format="xml">'
        f"<GDALTileIndexDataset><ResX>{pixel}</ResX><ResY>{pixel}</ResY>\n"
        f"<MinX>{left}</MinX><MinY>{bottom}</MinY><MaxX>{right}</MaxX><MaxY>{top}</MaxY>\n"
        f"{described}<Metadata>{metadata}</Metadata>\n{overviews}"
        "</GDALTileIndexDataset></Metadata></GDALMultiDomainMetadata>"
    )
