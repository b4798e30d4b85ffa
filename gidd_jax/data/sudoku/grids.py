"""Random full grids."""

import numpy as np

from gidd_jax.data.sudoku.board import Box
from gidd_jax.data.sudoku.solve import FAST, desk, digits


def grids(count: int, box: Box, rng: np.random.Generator, compiled: bool = FAST) -> np.ndarray:
    """Random full grids, uint8 [count, cells].

    A search fills the empty board, digits in random order, and a random symmetry follows: uniform within a class of
    equivalent grids, only nearly so between classes.
    """
    room = desk(box, compiled)
    ranks = (rng.random((count, box.cells, box.size)) * (1 << 29)).astype(np.int64)
    filled = np.empty((count, box.cells), np.int64)
    empty, found = room.array(np.zeros(box.cells)), room.array(np.zeros(box.cells))
    for row, rank in enumerate(ranks):
        room.run.start(empty, room.masks[0], room.done[0], room.full)
        room.search(1, found, room.array(rank))
        filled[row] = found
    return shuffled(digits(filled), box, rng)


def shuffled(boards: np.ndarray, box: Box, rng: np.random.Generator) -> np.ndarray:
    """Each full grid [N, cells] under a random symmetry of its own."""
    count, size, bands, stacks = len(boards), box.size, box.cols, box.rows

    def orders(groups: int, members: int) -> np.ndarray:
        """Random order of groups, and of members in each: int [N, groups * members]."""
        group = rng.random((count, groups)).argsort(axis=1)
        member = rng.random((count, groups, members)).argsort(axis=2)
        return (group[:, :, None] * members + member).reshape(count, -1)

    rows, columns = orders(bands, box.rows)[:, :, None], orders(stacks, box.cols)[:, None, :]
    cells = rows * size + columns
    if box.rows == box.cols:
        cells = np.where(rng.random((count, 1, 1)) < 0.5, cells, cells.swapaxes(1, 2))
    digit = 1 + rng.random((count, size)).argsort(axis=1)
    moved = np.take_along_axis(boards, cells.reshape(count, -1), axis=1)
    return np.take_along_axis(digit, moved.astype(np.int64) - 1, axis=1).astype(np.uint8)
