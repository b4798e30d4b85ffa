"""Makes the boards that come with the package: ``python -m gidd_jax.data.sudoku.bundling FOLDER``, two minutes."""

import pathlib
import sys

from gidd_jax.data.sudoku.boards import Boards, join
from gidd_jax.data.sudoku.bundle import NAMES, write
from gidd_jax.data.sudoku.generate import generate

RECIPES = {
    "4x4": (("kaggle", None, 3000), ("minimal", None, 3000)),
    "6x6": (("kaggle", None, 4000), ("singles", 10, 4000), ("search", 10, 4000)),
    "9x9": (("kaggle", None, 20_000), ("singles", 24, 10_000), ("search", 24, 10_000)),
}
"""The tiers of each size: kind, clues and boards, all from seed 0. Singles and search share their clue count."""


def make(name: str) -> Boards:
    """The bundled boards of one size, generated anew; the same boards every time."""
    parts = [generate(kind, count, NAMES[name], clues, seed=0)[0] for kind, clues, count in RECIPES[name]]
    return join(parts, name)


if __name__ == "__main__":
    for each in NAMES:
        write(pathlib.Path(sys.argv[1]) / f"{each}.npz", make(each))
