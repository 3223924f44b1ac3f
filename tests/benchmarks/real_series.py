"""The real labelled series of ../shared/data as a run would deliver them."""

from pathlib import Path

import numpy as np
import pandas as pd

from models.encoder.preprocessing import BANDS

TABLES = ("france_2022_monthly", "france_2023_dekadal", "flanders_2021_monthly")
_NONE = 65535


def read_real_series(shared: Path, table: str) -> tuple[np.ndarray, np.ndarray]:
    """Series uint16 (point, 12, 10) of the last twelve months, and land cover str (point,).

    The median of a month's steps; B8A, which the tables lack, is B08; a month without an
    observation takes the median of the year, as runs fill it. Points without any are left out.
    """
    rows = pd.read_parquet(shared / "real" / f"{table}.parquet")
    stored = {band: "B08" if band == "B8A" else band for band in BANDS}
    values = rows[list(dict.fromkeys(stored.values()))].astype(float)
    values = values.mask(values == _NONE)
    month = rows["timestamp"].dt.to_period("M")
    last = sorted(month.unique())[-12:]
    keys = [rows["sample_id"], month]
    monthly = values.groupby(keys).median()
    points = list(dict.fromkeys(rows["sample_id"]))
    index = pd.MultiIndex.from_product([points, last])
    filled = monthly.reindex(index)
    series = filled[[stored[band] for band in BANDS]].to_numpy().reshape(len(points), 12, 10)
    order = np.argsort([period.month for period in last])  # January first
    series = series[:, order]
    annual = np.nanmedian(series, axis=1, keepdims=True)
    series = np.where(np.isnan(series), annual, series)
    whole = ~np.isnan(series).any(axis=(1, 2))
    label = "landcover10" if "landcover10" in rows else "label"
    cover = rows.groupby("sample_id", sort=False)[label].first().loc[points].to_numpy(str)
    return np.maximum(series[whole], 1).round().astype(np.uint16), cover[whole]
