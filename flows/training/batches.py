"""The batches of a training set as a training takes them, epoch after epoch."""

from collections.abc import Generator, Iterator

from models.pretraining.batch import Batch
from models.pretraining.recipe import Recipe
from pipeline.training_set.loader import TrainingSet
from pipeline.training_set.prefetch import prefetched

TRAIN, VALIDATION = "train", "validation"
_AHEAD = 4  # batches, beyond an epoch's end, where the set itself stops reading ahead


def training_batches(
    data: TrainingSet, recipe: Recipe, step: int, rank: int = 0, world: int = 1
) -> Generator[Batch]:
    """A process's parts of the batches from a step on, without end.

    They are read ahead by a thread, which ends when the generator is closed.
    """

    def epochs() -> Iterator[Batch]:
        epoch, start = divmod(step, data.steps(TRAIN, recipe.batch))
        while True:
            yield from data.batches(
                TRAIN,
                batch=recipe.batch,
                seed=recipe.seed,
                epoch=epoch,
                start=start,
                rank=rank,
                world=world,
            )
            epoch, start = epoch + 1, 0

    return prefetched(epochs(), _AHEAD)


def validation_batches(
    data: TrainingSet, recipe: Recipe, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """A process's parts of all batches of the validation split."""
    return data.batches(
        VALIDATION, batch=recipe.batch, seed=0, epoch=0, rank=rank, world=world, drop_last=False
    )
