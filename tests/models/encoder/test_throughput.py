"""What is measured is measured: counts and orders of magnitude, no times."""

from pathlib import Path

import torch

from models.encoder.checkpoint import Checkpoint
from models.encoder.throughput import Throughput, count_operations, measure_throughput
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from tests.made_card import made_card


def test_operations_are_those_of_the_fast_encoder() -> None:
    config = TimeSenClipArchitecture()
    encoder = TimeSenClipEncoder(config).eval()
    checkpoint = Checkpoint(encoder, made_card(config), "", Path())
    assert 145e6 < count_operations(checkpoint) < 155e6


def test_measures_the_cpu() -> None:
    config = TimeSenClipArchitecture(dim=32, depth=2, heads=2, feedforward=32)
    checkpoint = Checkpoint(TimeSenClipEncoder(config).eval(), made_card(config), "", Path())
    threads = torch.get_num_threads()
    found = measure_throughput(checkpoint, torch.device("cpu"), threads=2, seconds=0.1)
    assert torch.get_num_threads() == threads
    assert found.pixels > 0
    assert 0 < found.share < 1.5


def test_the_share_is_of_the_peak() -> None:
    assert Throughput(pixels=10, operations=5, peak=100).share == 0.5
