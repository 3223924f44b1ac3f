"""The real series of ../shared/data as a checkpoint takes them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from models.preprocessing import BANDS
from tests.belgium import NO_OBSERVATION, read_patch

_TABLES = {
    "France 2022": "france_2022_monthly.parquet",
    "France 2023": "france_2023_dekadal.parquet",
    "Flanders 2021": "flanders_2021_monthly.parquet",
}


def real_series(shared: Path) -> Mapping[str, np.ndarray]:
    """Series uint16 (n, 12, 10) by place, bands as in `BANDS`; B08 stands for B8A, which is absent.

    January to December of the year in which a table's label holds; of the Belgian patch the twelve
    months that it has. A month is the median of its steps; one without an observation takes the
    median of those that are left. Pixels that were never seen are left out.
    """
    found = {place: _of_table(shared / "real" / name) for place, name in _TABLES.items()}
    patch = read_patch(shared)
    values = np.stack([patch[f"S2-L2A-{_source(band)}"].values for band in BANDS], axis=-1)
    pixels = np.moveaxis(values, 0, 2).reshape(-1, *values.shape[::3])
    by_month = np.argsort(patch.t.dt.month.values)
    return {"Belgium 2021, 1 km²": _filled(_unseen_as_nan(pixels[:, by_month]))} | found


def _of_table(path: Path) -> np.ndarray:
    table = pd.read_parquet(path)
    table = table[table.timestamp.dt.year == table.valid_time.dt.year]
    month = table.timestamp.dt.month.rename("month")
    seen = table[[_source(band) for band in BANDS]].replace(NO_OBSERVATION, np.nan).astype(float)
    seen.columns = pd.Index(BANDS)
    medians = seen.groupby([table.sample_id, month]).median()
    samples = medians.index.get_level_values(0).unique()
    whole = medians.reindex(pd.MultiIndex.from_product([samples, range(1, 13)]))
    return _filled(whole.to_numpy().reshape(len(samples), 12, len(BANDS)))


def _source(band: str) -> str:
    return "B08" if band == "B8A" else band


def _unseen_as_nan(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == NO_OBSERVATION, np.nan, stored.astype(float))


def _filled(series: np.ndarray) -> np.ndarray:
    """Months without an observation take the year's median; without any, the pixel goes."""
    series = series[~np.isnan(series).all(axis=1).any(axis=1)]
    whole = np.where(np.isnan(series), np.nanmedian(series, axis=1, keepdims=True), series)
    return np.clip(np.round(whole), 1, 65_535).astype(np.uint16)
