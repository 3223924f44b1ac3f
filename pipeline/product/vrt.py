"""GDAL's virtual rasters (https://gdal.org/drivers/raster/vrt.html) as text.

They are written by hand because `gdalbuildvrt` and rasterio's WarpedVRT open every source: a
continent's mosaic would need thousands of requests. The cells' STAC items have all that is needed,
so no raster is opened (`test_no_raster_is_opened_to_write_a_mosaic` holds it). GDAL's tools also
write no names of classes, and no cutline moved by a pixel, which neighbouring zones need
(`pipeline.product.zone_seams`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import shapely
from affine import Affine
from pyproj import CRS
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

from pipeline.product.cog_writer import BLOCK, category_names, rgb

GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16"}
"""GDAL's names of types."""
# The error of a warp, in pixels of the source: neighbouring zones must agree on places. Being so
# much stricter than the usual 0.01 makes a warp 1.5 times as long.
_MISPLACED = 0.0001


@dataclass(frozen=True)
class Frame:
    """A north-up pixel grid with a size; its CRS is passed beside it."""

    transform: Affine
    rows: int
    columns: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Extent (min x, min y, max x, max y)."""
        left, top = self.transform.c, self.transform.f
        right = left + self.transform.a * self.columns
        return (left, top + self.transform.e * self.rows, right, top)


@dataclass(frozen=True)
class Band:
    """A band of a mosaic: dtype name, nodata, description, colours and names of its values.

    `interpretation` is GDAL's ("Gray", "Red", …) of a band without colours of its values.
    """

    dtype: str
    nodata: int
    description: str
    colours: Mapping[int, str]
    names: Mapping[int, str]
    interpretation: str = "Gray"


@dataclass(frozen=True)
class VrtSource:
    """A raster of the mosaic: its path from the VRT on, and its frame on the same grid.

    It has the mosaic's bands. `part` is the part of the frame that is shown (default: all). The
    raster's pixels are `scale` times as large as the grid's; the last ones may pass the frame.
    """

    path: str
    frame: Frame
    part: Frame | None = None
    scale: int = 1


def mosaic_vrt(
    crs: CRS,
    frame: Frame,
    bands: Sequence[Band],
    sources: Sequence[VrtSource],
    tags: Mapping[str, str],
) -> bytes:
    """A VRT over sources that lie on the grid of a frame; their nodata pixels are left out.

    What of a source lies outside of the frame is left out, too.
    """
    metadata = "".join(
        f"    <MDI key={quoteattr(key)}>{escape(value)}</MDI>\n" for key, value in tags.items()
    )
    body = "".join(
        f'  <VRTRasterBand dataType="{GDAL_TYPES[band.dtype]}" band="{number}">\n'
        f"{band_xml(band)}{''.join(_source(frame, number, band, source) for source in sources)}"
        f"  </VRTRasterBand>\n"
        for number, band in enumerate(bands, 1)
    )
    return (
        f"{_head(crs, frame)}"
        f"  <Metadata>\n{metadata}  </Metadata>\n"
        f"{body}"
        f"{_overviews(frame)}"
        f"</VRTDataset>\n"
    ).encode()


def warped_vrt(
    path: str,
    source_crs: CRS,
    source: Frame,
    crs: CRS,
    frame: Frame,
    bands: Sequence[Band],
    *,
    within: BaseGeometry | None = None,
    step: tuple[int, int] = (0, 0),
) -> bytes:
    """A VRT of a frame in a CRS that warps (nearest) the raster of `path` beside it.

    Positions are exact to a millimetre. With `within`, an area in the source's CRS, only pixels
    whose centres lie there are shown; all appear `step` (columns, rows) further.
    """
    placed = source.transform @ Affine.translation(*step)
    cutline = ""
    if within is not None:
        # GDAL wants it in pixels and lines of the source.
        pixels = affine_transform(within, (~source.transform).to_shapely())
        cutline = f"    <Cutline>{shapely.to_wkt(pixels, rounding_precision=3)}</Cutline>\n"
    warped = "".join(
        f'  <VRTRasterBand dataType="{GDAL_TYPES[band.dtype]}" band="{number}" '
        f'subClass="VRTWarpedRasterBand">\n'
        f"{band_xml(band)}"
        f"  </VRTRasterBand>\n"
        for number, band in enumerate(bands, 1)
    )
    mapped = "".join(
        f'<BandMapping src="{number}" dst="{number}">'
        f"<SrcNoDataReal>{band.nodata}</SrcNoDataReal><DstNoDataReal>{band.nodata}</DstNoDataReal>"
        f"</BandMapping>"
        for number, band in enumerate(bands, 1)
    )
    # Else a pixel without a value in one band would keep it in none (GDAL's default varies).
    each = '    <Option name="UNIFIED_SRC_NODATA">NO</Option>\n' if len(bands) > 1 else ""
    return (
        f"{_head(crs, frame, 'VRTWarpedDataset')}"
        f"{warped}"
        f"{_overviews(frame)}"
        f"  <BlockXSize>{BLOCK}</BlockXSize>\n"
        f"  <BlockYSize>{BLOCK}</BlockYSize>\n"
        f"  <GDALWarpOptions>\n"
        f"    <WarpMemoryLimit>6.71089e+07</WarpMemoryLimit>\n"
        f"    <ResampleAlg>NearestNeighbour</ResampleAlg>\n"
        f"    <WorkingDataType>{GDAL_TYPES[bands[0].dtype]}</WorkingDataType>\n"
        f'    <Option name="INIT_DEST">NO_DATA</Option>\n'
        f"{each}"
        f'    <SourceDataset relativeToVRT="1">{escape(path)}</SourceDataset>\n'
        f"    <Transformer><ApproxTransformer><MaxError>{_MISPLACED}</MaxError><BaseTransformer>\n"
        f"      <GenImgProjTransformer>\n"
        f"        <SrcGeoTransform>{_numbers(placed)}</SrcGeoTransform>\n"
        f"        <SrcInvGeoTransform>{_numbers(~placed)}</SrcInvGeoTransform>\n"
        f"        <DstGeoTransform>{_numbers(frame.transform)}</DstGeoTransform>\n"
        f"        <DstInvGeoTransform>{_numbers(~frame.transform)}</DstInvGeoTransform>\n"
        f"        <ReprojectTransformer><ReprojectionTransformer>\n"
        f"          <SourceSRS>{escape(source_crs.to_wkt())}</SourceSRS>\n"
        f"          <TargetSRS>{escape(crs.to_wkt())}</TargetSRS>\n"
        f"        </ReprojectionTransformer></ReprojectTransformer>\n"
        f"      </GenImgProjTransformer>\n"
        f"    </BaseTransformer></ApproxTransformer></Transformer>\n"
        f"    <BandList>{mapped}</BandList>\n"
        f"{cutline}"
        f"  </GDALWarpOptions>\n"
        f"</VRTDataset>\n"
    ).encode()


def faded_vrt(crs: CRS, frame: Frame, dtype: str, classes: str, confidence: str) -> bytes:
    """A VRT of two bands over VRTs of a frame: classes, and how opaque confidence makes them.

    The second band is 0 … 255 for a confidence of 0 … 100 %, and 0 where there is none (255).

    Args:
        crs: The CRS of all.
        frame: The frame of all.
        dtype: The type of the classes.
        classes: The path of their VRT from this one on.
        confidence: That of the confidence.
    """
    size = f'xOff="0" yOff="0" xSize="{frame.columns}" ySize="{frame.rows}"'
    bands = (
        ("class", dtype, classes, "<NODATA>0</NODATA>", "    <NoDataValue>0</NoDataValue>\n"),
        (
            "opacity",
            "uint8",
            confidence,
            "<ScaleOffset>0</ScaleOffset><ScaleRatio>2.55</ScaleRatio><NODATA>255</NODATA>",
            "",
        ),
    )
    body = "".join(
        f'  <VRTRasterBand dataType="{GDAL_TYPES[kind]}" band="{number}">\n'
        f"    <Description>{name}</Description>\n{nodata}"
        f'    <ComplexSource><SourceFilename relativeToVRT="1">{escape(path)}</SourceFilename>'
        f"<SourceBand>1</SourceBand><SrcRect {size}/><DstRect {size}/>{numbers}"
        "</ComplexSource>\n"
        "  </VRTRasterBand>\n"
        for number, (name, kind, path, numbers, nodata) in enumerate(bands, 1)
    )
    return f"{_head(crs, frame)}{body}{_overviews(frame)}</VRTDataset>\n".encode()


def _head(crs: CRS, frame: Frame, kind: str | None = None) -> str:
    subclass = f' subClass="{kind}"' if kind else ""
    return (
        f'<VRTDataset rasterXSize="{frame.columns}" rasterYSize="{frame.rows}"{subclass}>\n'
        f'  <SRS dataAxisToSRSAxisMapping="{_axes(crs)}">{escape(crs.to_wkt())}</SRS>\n'
        f"  <GeoTransform>{_numbers(frame.transform)}</GeoTransform>\n"
    )


def _axes(crs: CRS) -> str:
    """Which axis of the CRS the raster's x and y are: EPSG:3035 counts northing first.

    Names tell, not directions: near a pole, both axes may point north.
    """
    first = crs.axis_info[0].name.lower() if crs.axis_info else ""
    return "2,1" if first.startswith(("northing", "geodetic latitude")) else "1,2"


def band_xml(band: Band) -> str:
    """The elements that describe a band in a VRT, and in the metadata of an index."""
    parts = [
        f"    <Description>{escape(band.description)}</Description>\n",
        f"    <NoDataValue>{band.nodata}</NoDataValue>\n",
        f"    <ColorInterp>{'Palette' if band.colours else band.interpretation}</ColorInterp>\n",
    ]
    if band.colours:
        entries = []
        for value in range(max(band.colours) + 1):
            red, green, blue = rgb(band.colours.get(value, "#000000"))
            alpha = 255 if value in band.colours else 0
            entries.append(f'      <Entry c1="{red}" c2="{green}" c3="{blue}" c4="{alpha}"/>\n')
        parts.append(f"    <ColorTable>\n{''.join(entries)}    </ColorTable>\n")
    if band.names:
        parts.append(category_names(band.names))
    return "".join(parts)


def _source(frame: Frame, number: int, band: Band, source: VrtSource) -> str:
    part = _common(frame, source.part or source.frame)
    if part is None:
        return ""
    return (
        f"    <ComplexSource>\n"
        f'      <SourceFilename relativeToVRT="1">{escape(source.path)}</SourceFilename>\n'
        f"      <SourceBand>{number}</SourceBand>\n"
        f'      <SourceProperties RasterXSize="{-(-source.frame.columns // source.scale)}" '
        f'RasterYSize="{-(-source.frame.rows // source.scale)}" '
        f'DataType="{GDAL_TYPES[band.dtype]}" BlockXSize="{BLOCK}" BlockYSize="{BLOCK}"/>\n'
        f"      <SrcRect {_rectangle(_offset(source.frame, part), part, source.scale)}/>\n"
        f"      <DstRect {_rectangle(_offset(frame, part), part)}/>\n"
        f"      <NODATA>{band.nodata}</NODATA>\n"
        f"    </ComplexSource>\n"
    )


def _common(frame: Frame, part: Frame) -> Frame | None:
    """What two frames of one grid have in common, if anything."""
    across, down = _offset(frame, part)
    left, top = max(across, 0), max(down, 0)
    right = min(across + part.columns, frame.columns)
    bottom = min(down + part.rows, frame.rows)
    if left >= right or top >= bottom:
        return None
    if (right - left, bottom - top) == (part.columns, part.rows):
        return part
    return Frame(frame.transform @ Affine.translation(left, top), bottom - top, right - left)


def _offset(frame: Frame, part: Frame) -> tuple[int, int]:
    """Columns and rows from a frame's corner to that of another on the same grid."""
    grid, other = frame.transform, part.transform
    return round((other.c - grid.c) / grid.a), round((other.f - grid.f) / grid.e)


def _rectangle(offset: tuple[int, int], part: Frame, scale: int = 1) -> str:
    edges = (*offset, part.columns, part.rows)
    left, top, width, height = (
        f"{edge / scale:g}" if edge % scale else edge // scale for edge in edges
    )
    return f'xOff="{left}" yOff="{top}" xSize="{width}" ySize="{height}"'


def overview_factors(frame: Frame) -> list[int]:
    """The factors of virtual overviews down to one block: GDAL takes them from the sources' own."""
    factors, factor = [], 2
    while max(frame.rows, frame.columns) > BLOCK * factor / 2:
        factors.append(factor)
        factor *= 2
    return factors


def _overviews(frame: Frame) -> str:
    if not (factors := overview_factors(frame)):
        return ""
    listed = " ".join(map(str, factors))
    return f'  <OverviewList resampling="nearest">{listed}</OverviewList>\n'


def _numbers(transform: Affine) -> str:
    return ", ".join(f"{float(number):.17g}" for number in transform.to_gdal())
