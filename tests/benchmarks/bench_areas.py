"""Areas of zones: pixels cut by the edge counted by their covered part, or by their centre.

`python -m tests.benchmarks.bench_areas` writes tests/benchmarks/results/areas.md.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import shapely
from affine import Affine
from pyproj import Geod, Transformer
from shapely.geometry.base import BaseGeometry

from pipeline.areas.coverage import covered_share
from pipeline.areas.pixel_area import PixelAreas
from pipeline.grid.polygon_pixels import pixels_inside

RESULT = Path(__file__).resolve().parent / "results" / "areas.md"
SIDE = 2048
HECTARES = (1, 10, 100, 1000)
ZONES = 40
PLACES = {
    "middle of a zone, 49° N": (32631, 499_980, 5_500_020),
    "edge of a zone, 49° N": (32631, 699_960, 5_500_020),
    "edge of a zone, equator": (32631, 809_760, 20_500),
}
HEADER = (
    *("exact, mean", "largest", "centres, mean", "largest"),
    *("exact, CPU", "centres, CPU", "overlay, CPU"),
)
GEOD = Geod(ellps="WGS84")


def zone_of(hectares: float, transform: Affine, rng: np.random.Generator) -> BaseGeometry:
    """A field of four to nine corners, of about so many hectares, anywhere on the grid."""
    corners = rng.integers(4, 10)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    around = np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(0.6, 1, (corners, 1))
    shape = shapely.convex_hull(shapely.MultiPoint(around))
    shape = shapely.transform(shape, lambda xy: xy * np.sqrt(hectares * 10_000 / shape.area))
    left, bottom, right, top = shape.bounds
    x = transform.c + 100 - left + rng.uniform(0, 10 * SIDE - 200 - (right - left))
    y = transform.f - 100 - top - rng.uniform(0, 10 * SIDE - 200 - (top - bottom))
    return shapely.transform(shape, lambda xy: xy + np.array([x, y]))


def geodesic(area: BaseGeometry, epsg: int) -> float:
    """The area on the ellipsoid, in hectares."""
    to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
    dense = shapely.get_coordinates(shapely.segmentize(area, 50.0))
    return abs(GEOD.polygon_area_perimeter(*to_degrees.transform(*dense.T))[0]) / 10_000


def overlaid(area: BaseGeometry, transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """The covered shares by overlaying each pixel near the zone with it."""
    rows, columns = np.indices(shape)
    left, top = transform.c + 10 * columns, transform.f - 10 * rows
    boxes = shapely.box(left, top - 10, left + 10, top)
    shapely.prepare(area)
    share = np.zeros(shape)
    inside = shapely.contains_properly(area, boxes)
    edge = shapely.intersects(area, boxes) & ~inside
    share[inside] = 1
    share[edge] = shapely.area(shapely.intersection(boxes[edge], area)) / 100
    return share


def window_of(
    area: BaseGeometry, transform: Affine
) -> tuple[Affine, tuple[int, int], slice, slice]:
    """The window of the grid around a zone."""
    left, bottom, right, top = area.bounds
    column, row = int((left - transform.c) // 10), int((transform.f - top) // 10)
    last, end = int((right - transform.c) // 10) + 1, int((transform.f - bottom) // 10) + 1
    part = transform @ Affine.translation(column, row)
    return part, (end - row, last - column), slice(row, end), slice(column, last)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    epsg, left, top = PLACES["middle of a zone, 49° N"]
    transform = Affine(10, 0, left, 0, -10, top)
    areas = PixelAreas.of_grid(epsg, transform, (SIDE, SIDE))
    ways: dict[str, Callable[..., np.ndarray]] = {
        "exact": covered_share,
        "centres": lambda area, part, shape: pixels_inside(area, shape, part),
        "overlay": overlaid,
    }
    lines = []
    for hectares in HECTARES:
        errors: dict[str, list[float]] = {name: [] for name in ways}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ZONES):
            area = zone_of(hectares, transform, rng)
            true = geodesic(area, epsg)
            part, shape, rows, columns = window_of(area, transform)
            pixels = areas.hectares(rows, columns)
            for name, way in ways.items():
                if name == "overlay" and hectares > 100:
                    continue
                began = time.process_time()
                share = way(area, part, shape)
                spent[name].append(time.process_time() - began)
                errors[name].append(abs(float((share * pixels).sum()) / true - 1))
        cells = [f"{hectares:,} ha"]
        for name in ("exact", "centres"):
            cells += [f"{np.mean(errors[name]):.1e}", f"{max(errors[name]):.1e}"]
        cells += [f"{1000 * median(spent[name]):.2f} ms" if spent[name] else "" for name in ways]
        lines.append(f"| {' | '.join(cells)} |")
    scale = []
    for name, (code, x, y) in PLACES.items():
        grid = PixelAreas.of_grid(code, Affine(10, 0, x, 0, -10, y), (1, 1))
        true = float(grid.hectares(slice(0, 1), slice(0, 1))[0, 0]) * 10_000
        scale.append(f"| {name} (EPSG:{code}, {x:,} m E) | {true:.3f} m² | {true / 100 - 1:+.3%} |")
    document = "\n".join(
        [
            "# Areas of zones",
            "",
            f"Made by `python -m tests.benchmarks.bench_areas`: {ZONES} random fields of each "
            "size, beside their geodesic area. Pixels cut by the edge count by the part that the "
            "field covers (exact), or by whether it covers their centre (centres). Errors are "
            "relative: mean and largest. CPU time of a field, median; overlay is shapely's, pixel "
            "by pixel, with the same result as exact.",
            "",
            f"| field | {' | '.join(HEADER)} |",
            f"|---{'|---:' * len(HEADER)}|",
            *lines,
            "",
            "The true area of a pixel of 100 m² of UTM:",
            "",
            "| place | area | against 100 m² |",
            "|---|---:|---:|",
            *scale,
            "",
        ]
    )
    arguments.out.write_text(document)
    print(document)


if __name__ == "__main__":
    main()
