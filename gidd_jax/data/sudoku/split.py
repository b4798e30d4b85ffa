"""Train, validation and test boards that share no solution."""

from typing import Literal, NamedTuple

import numpy as np

from gidd_jax.data.deal import mix, places
from gidd_jax.data.sudoku.board import Box
from gidd_jax.data.sudoku.boards import Boards
from gidd_jax.errors import InputError

CHUNK = 1 << 13
"""Grids worked on at once, so that the steps stay in the cache."""


class Splits(NamedTuple):
    """Three tables of boards with no solution in common.

    ``kind`` is ``"class"`` where solutions that a symmetry turns into each other count as one, and ``"grid"`` where
    only equal grids do: then augmentation would carry test solutions into training, and has to be off.
    """

    train: Boards
    validation: Boards
    test: Boards
    kind: Literal["class", "grid"]


def split(boards: Boards, seed: int = 0, fractions: tuple[float, float] = (0.1, 0.1)) -> Splits:
    """Deal boards out by a hash of their solution: ``fractions`` are the shares of validation and test.

    Square boards of 9 digits or more go by class; smaller and other ones, which fill only a handful of classes, by
    grid. A solution's part depends on ``seed`` and itself alone, not on the other boards or their order, from 1000
    different solutions up; below that the hashes are ranked, so that each part gets its share.

    Raises ``InputError`` for fractions that leave nothing to train on and for boards too few for three parts.
    """
    validation, test = fractions
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise InputError(f"fractions {validation} and {test}: give two shares above 0 that leave some for training")
    by_class = boards.box.rows == boards.box.cols and boards.box.size >= 9
    hashes = (class_hash if by_class else grid_hash)(boards.answer, boards.box)
    place, different = places(hashes, seed)
    part = np.select([place < validation, place < validation + test], [1, 2], 0)
    parts = [boards[part == each] for each in range(3)]
    for name, each in zip(("train", "validation", "test"), parts, strict=True):
        if not len(each):
            raise InputError(
                f"{boards.name}: {len(boards)} boards have {different} different solutions, too few for a {name} "
                f"part with fractions {validation} and {test}; give more boards or larger fractions"
            )
    return Splits(*parts, kind="class" if by_class else "grid")


def grid_hash(answer: np.ndarray, box: Box) -> np.ndarray:
    """A 64-bit hash of each full grid [N, cells]: uint64 [N]."""
    total = np.zeros(len(answer), np.uint64)
    for cell in range(box.cells):
        total += mix(answer[:, cell].astype(np.uint64) + np.uint64(cell * (box.size + 1)))
    return total


def class_hash(answer: np.ndarray, box: Box) -> np.ndarray:
    """A 64-bit hash of each full grid [N, cells] that no symmetry of the board changes: uint64 [N].

    Two rows are a permutation of the digits; the lengths of its cycles survive relabelling, moving columns and, with
    the rows as a set, moving rows. Hashes of them are added up over pairs, rows, bands and orientations, so that no
    order is left.
    """
    parts = [answer[first : first + CHUNK].reshape(-1, box.size, box.size) for first in range(0, len(answer), CHUNK)]
    return np.concatenate([mix(_rows(part, box)) + mix(_rows(part.swapaxes(1, 2), box)) for part in parts])


def _rows(grids: np.ndarray, box: Box) -> np.ndarray:
    """The part of the class hash that the rows give: uint64 [N]."""
    count, size, _ = grids.shape
    base = (np.arange(count, dtype=np.int32) * size)[None, :]
    # Digit by digit, one long row each: every step below runs over all grids at once.
    rows = [np.ascontiguousarray(grids[:, row].T.astype(np.int32)) - 1 for row in range(size)]
    where = []
    for row in rows:
        place = np.empty((count, size), np.int32)
        np.put_along_axis(place, row.T, np.arange(size, dtype=np.int32)[None], axis=1)
        where.append(place.ravel())
    near, far = np.zeros((2, size, count), np.uint64)
    for one in range(size):
        for other in range(one + 1, size):
            pair = _cycles(where[other].take(base + rows[one]), base)
            same = one // box.rows == other // box.rows
            for row in (one, other):
                (near if same else far)[row] += pair
    row_hash = mix(near + mix(far))
    return mix(row_hash.reshape(-1, box.rows, count).sum(axis=1)).sum(axis=0)


def _cycles(step: np.ndarray, base: np.ndarray) -> np.ndarray:
    """A hash of the cycle lengths of permutations [size, N]: how many digits are home after 2, 3 and 4 steps."""
    size = len(step)
    flat = np.ascontiguousarray(step.T).ravel()
    home = np.arange(size, dtype=np.int32)[:, None]
    at, key = step, np.zeros(step.shape[1], np.uint64)
    for _ in range(3):
        at = flat.take(base + at)
        key = key * np.uint64(size + 1) + (at == home).sum(axis=0, dtype=np.uint64)
    return mix(key)
