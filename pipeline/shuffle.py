"""Orders drawn by chance that stay the same: a function of their keys, on every machine."""

import numpy as np


def shuffled(count: int, *key: int) -> np.ndarray:
    """0 … count - 1 in an order drawn by a key of whole numbers, 0 or more: int64 (count,).

    Made of a bit generator's raw output, which NumPy keeps the same over its versions
    (https://numpy.org/neps/nep-0019-rng-policy.html); `Generator.permutation` it does not.
    """
    drawn = np.random.PCG64(np.random.SeedSequence(key)).random_raw(count)
    return np.argsort(drawn, kind="stable")
