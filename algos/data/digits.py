"""scikit-learn's handwritten digits: 1797 images of 8 x 8, ten classes, inside the wheel."""

import numpy as np

from .dataset import Dataset

_TEST_SHARE = 0.2
_SPLIT_SEED = 0


def load_digits() -> Dataset:
    """1437 training and 360 test images (1, 8, 8) in [0, 1]; stratified split, always the same."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    bunch = load()
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=_TEST_SHARE, random_state=_SPLIT_SEED, stratify=labels
    )
    return Dataset("digits", "classification", x_train, y_train, x_test, y_test, 10)
