"""Which of the training images are held out."""

import numpy as np


def split(count: int, val_size: int, test_size: int, seed: int) -> tuple[np.ndarray, ...]:
    """Indices of the training, validation and test images, each in the source's own order.

    The seed alone decides. The test images are picked first, so that another `val_size` leaves
    them as they are, and a smaller validation set is a part of a larger one.
    """
    # RandomState, since numpy promises its stream for ever, and default_rng's for one version
    order = np.random.RandomState(seed).permutation(count)
    test, val, train = np.split(order, [test_size, test_size + val_size])
    return np.sort(train), np.sort(val), np.sort(test)
