"""Prices, shipped and of one's own, and what resources cost by them."""

from pathlib import Path

import pytest

from pipeline.costs.prices import load_prices, shipped_prices
from pipeline.costs.resources import Resources, cost_line, plain_number, total_resources
from pipeline.errors import SettingsError

OWN = """
title = "ours"
date = 2026-01-31
currency = "CHF"
source = "the contract"
core_hour = 0.1
gpu_hour = 2
read_gb = 0.02
written_gb = 0.02
thousand_requests = 0.5
"""


def test_what_is_shipped_says_that_it_is_an_example() -> None:
    assert shipped_prices() == ("cloud-on-demand", "cloud-spot", "on-premise")
    for name in shipped_prices():
        prices = load_prices(name)
        assert "example" in str(prices)
        assert prices.date.isoformat() in str(prices)
        assert "not looked up" in prices.source
        assert 0 < prices.core_hour < prices.gpu_hour


def test_own_prices_are_charged(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    prices = load_prices(str(tmp_path / "own.toml"))
    taken = Resources(
        core_seconds=7200,
        gpu_seconds=1800,
        bytes_read=9e9,
        remote_bytes=5e9,
        requests=4000,
        bytes_written=10e9,
    )
    assert taken.money(prices) == pytest.approx(2 * 0.1 + 0.5 * 2 + 5 * 0.02 + 10 * 0.02 + 4 * 0.5)
    assert cost_line(taken, prices, 100.0) == (
        "2 core hours, 0.5 GPU hours, 4,000 requests: about 3.5 CHF, 0.035 CHF per km² "
        "(ours, 2026-01-31)"
    )
    assert total_resources([taken, taken]).money(prices) == pytest.approx(2 * taken.money(prices))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("core_hour = 0.1", ""), "core_hour: it is missing"),
        (OWN.replace("0.1", "-0.1"), "core_hour"),
        (OWN.replace("0.1", "inf"), "core_hour"),
        (OWN.replace("CHF", "franc"), "currency"),
        (OWN.replace("ours", "a\\u001b[2J"), "title: it holds control characters"),
        (OWN + "memory_hour = 1", "memory_hour"),
        ("title = ", "not valid TOML"),
    ],
)
def test_what_is_wrong_with_prices_is_told(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_prices(str(file))


def test_prices_that_are_not_there() -> None:
    with pytest.raises(SettingsError, match=r"did you mean cloud-spot\?"):
        load_prices("cloud-spots")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.4, "1,234"), (10.4, "10"), (9.96, "10"), (0.5, "0.5"), (0.0123, "0.012"),
     (2e-6, "0.000002"), (1e-9, "0")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert plain_number(value) == text
