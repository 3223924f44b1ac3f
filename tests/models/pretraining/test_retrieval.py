"""Ranks of right entries, beside a plain sort."""

import torch

from models.pretraining.retrieval import retrieval_ranks


def unit(count: int, seed: int) -> torch.Tensor:
    sides = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(sides, dim=-1)


def test_many_queries_are_ranked_in_parts() -> None:
    queries, gallery = unit(1300, 0), unit(900, 1)
    right = torch.rand(1300, 900, generator=torch.Generator().manual_seed(2)) < 0.01
    right[:, 0] = True
    ranks, counts = retrieval_ranks(queries, gallery, lambda part: right[part])
    for row in range(0, 1300, 37):
        order = (gallery @ queries[row]).argsort(descending=True)
        # Right entries behind the best one do not count: its rank is among wrong entries.
        assert int(ranks[row]) == 1 + int(right[row, order].int().argmax())
        assert int(counts[row]) == int(right[row].sum())


def test_no_queries_have_no_ranks() -> None:
    ranks, counts = retrieval_ranks(unit(0, 0), unit(5, 1), lambda _: torch.zeros(0, 5).bool())
    assert ranks.shape == counts.shape == (0,)


def test_equal_entries_come_before_the_right_one() -> None:
    same = unit(1, 0).expand(20, 6)
    ranks, _ = retrieval_ranks(same, same, lambda _: torch.eye(20, dtype=torch.bool))
    assert ranks.tolist() == [20] * 20
