"""Long tables of made values, laid out as the real ones that `tables.toml` describes."""

from pathlib import Path

import numpy as np
import pandas as pd

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")  # they hold no B8A
ALL_BANDS = (*BANDS[:7], "B8A", *BANDS[7:])
NONE = 65535


def steps(first: str, count: int, dekads: bool) -> pd.DatetimeIndex:
    """The starts of `count` steps from a month on: whole months, or three a month."""
    months = pd.date_range(first, periods=-(-count // 3) if dekads else count, freq="MS")
    if not dekads:
        return months
    days = [month + pd.Timedelta(days=days) for month in months for days in (0, 10, 20)]
    return pd.DatetimeIndex(days[:count])


def write_table(
    path: Path, times: pd.DatetimeIndex, labels: list[tuple[str, str]], seed: int, lon: float = 2.0
) -> pd.DataFrame:
    """A table of a point a label (land cover, crop); a fifth of the steps was not observed."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, (cover, crop) in enumerate(labels):
        values = rng.integers(1, 9000, (len(times), len(BANDS)))
        values[rng.uniform(size=len(times)) < 0.2] = NONE
        parts.append(
            pd.DataFrame(values.astype(np.uint16), columns=list(BANDS)).assign(
                sample_id=f"{path.stem}-{number}",
                timestamp=times,
                lon=lon + number / 2,
                lat=47.0,
                valid_time=times[-8],
                landcover10=cover,
                croptype24=crop,
            )
        )
    table = pd.concat(parts, ignore_index=True)
    table.to_parquet(path)
    return table


def write_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """WorldCereal's three tables, by name."""
    labels = [
        ("grasslands", "ignore"),
        ("temporary_crops", "maize"),
        ("temporary_crops", "ignore"),
        ("ignore", "ignore"),
        ("trees", "no_crop"),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    times = {
        "france_2022_monthly": steps("2021-09-01", 17, dekads=False),
        "france_2023_dekadal": steps("2022-09-01", 51, dekads=True),
        "flanders_2021_monthly": steps("2020-08-01", 16, dekads=False),
    }
    return {
        name: write_table(folder / f"{name}.parquet", when, labels, seed, lon=2.0 + 5 * seed)
        for seed, (name, when) in enumerate(times.items())
    }


def write_other_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The other tables: labels of their own, other calendars, some without bands or coordinates."""
    folder.mkdir(parents=True, exist_ok=True)
    two_months = pd.date_range("2021-01-01", periods=6, freq="2MS")
    half_years = pd.date_range("2019-01-01", periods=2, freq="6MS")
    sixteen = pd.date_range("2018-07-12", periods=25, freq="16D")
    ten = pd.date_range("2018-08-12", periods=36, freq="10D")
    dekads = steps("2021-01-01", 36, dekads=True)
    made = {
        "lesotho_2021_bimonthly": (two_months, ["Water", "Urban", "Trees"], (), False),
        "us_2021_dekadal": (dekads, ["Rice", "Developed/Open Space", "Almonds"], (), False),
        "rondonia_2018_16day": (sixteen, ["Forest", "Pasture", "Deforestation"], (), False),
        "rondonia_2018_10day": (ten, ["Forest", "NonForest"], ("B05", "B06", "B07"), False),
        "africa_2019_halfyear": (half_years, ["cropland", "non-cropland"], ("B8A",), True),
    }
    tables = {}
    for seed, (name, (times, labels, lacking, by_region)) in enumerate(made.items(), 10):
        rng, parts = np.random.default_rng(seed), []
        for number, label in enumerate(labels):
            values = rng.integers(1, 9000, (len(times), len(ALL_BANDS))).astype(np.uint16)
            part = pd.DataFrame(values, columns=list(ALL_BANDS)).drop(columns=list(lacking))
            where = (
                {"region": f"region {number}"} if by_region else {"lon": 9.0 + number, "lat": 1.0}
            )
            part = part.assign(sample_id=f"{name}-{number}", timestamp=times, label=label, **where)
            parts.append(part)
        tables[name] = pd.concat(parts, ignore_index=True)
        tables[name].to_parquet(folder / f"{name}.parquet")
    return tables
