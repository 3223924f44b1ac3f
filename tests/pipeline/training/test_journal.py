"""The journal of a training."""

import math

from pipeline.training.journal import Journal


def test_a_loss_that_is_no_number_is_never_the_best() -> None:
    journal = Journal()
    for step, loss in ((1, math.nan), (2, 0.5), (3, math.nan), (4, 0.4)):
        journal = journal.with_validation(step, {"T=12": {"loss": loss}})
        if step == 1:
            assert (journal.best, journal.worse) == (None, 1)
        if step == 3:
            assert (journal.best, journal.worse) == (2, 1)
    assert (journal.best, journal.best_loss, journal.worse) == (4, 0.4, 0)
