"""Makes the digits that come with the package, from scikit-learn's copy (``pictures/README.md`` tells their source):

``python -m gidd_jax.data.images.bundling sklearn/datasets/data/digits.csv.gz FOLDER``
"""

import pathlib
import sys

import numpy as np


def packed(table: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of 64 pixels in 0..16 and a digit -> ``pixels`` uint8 [N,8,8] and ``label`` uint8 [N]."""
    return {"pixels": table[:, :64].reshape(-1, 8, 8).astype(np.uint8), "label": table[:, 64].astype(np.uint8)}


if __name__ == "__main__":
    source, folder = sys.argv[1:]
    np.savez_compressed(pathlib.Path(folder) / "digits.npz", **packed(np.loadtxt(source, delimiter=",")))
