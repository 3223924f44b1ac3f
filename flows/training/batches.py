"""The batches of training sets as a training takes them, epoch after epoch."""

from collections.abc import Generator, Iterator

from models.pretraining.batch import Batch
from models.pretraining.recipe import Recipe
from pipeline.training_set.loader import TrainingSet
from pipeline.training_set.mixture import SetMixture
from pipeline.training_set.prefetch import prefetched

TRAIN, VALIDATION = "train", "validation"
_AHEAD = 4  # batches, beyond an epoch's end, where the set itself stops reading ahead


def training_batches(
    data: SetMixture, recipe: Recipe, step: int, rank: int = 0, world: int = 1
) -> Generator[Batch]:
    """A process's parts of the batches from a step on, without end.

    They are read ahead by a thread, which ends when the generator is closed.
    """
    if len(data.sets) > 1:
        mixed = data.batches(
            TRAIN, batch=recipe.batch, seed=recipe.seed, step=step, rank=rank, world=world
        )
        return prefetched(mixed, _AHEAD)
    (only,) = data.sets
    return prefetched(_whole_batches(only, data, recipe, step, rank, world), _AHEAD)


def _whole_batches(
    only: TrainingSet, data: SetMixture, recipe: Recipe, step: int, rank: int, world: int
) -> Iterator[Batch]:
    """The batches of a single set; what does not fill one is left out of each epoch."""
    epoch, start = divmod(step, only.steps(TRAIN, recipe.batch))
    while True:
        yield from only.batches(
            TRAIN,
            batch=recipe.batch,
            seed=recipe.seed,
            epoch=epoch,
            start=start,
            rank=rank,
            world=world,
            balance=data.balance,
        )
        epoch, start = epoch + 1, 0


def validation_batches(
    data: SetMixture, recipe: Recipe, rank: int = 0, world: int = 1
) -> dict[str, Iterator[Batch]]:
    """A process's parts of all batches of the validation split, by the name of each set."""
    return data.validation(VALIDATION, batch=recipe.batch, rank=rank, world=world)
