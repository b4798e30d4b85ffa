"""Counting solutions and grading puzzles, for any box shape."""

import functools
import importlib.util
import inspect
import types
from typing import NamedTuple

import numpy as np

from gidd_jax.data.sudoku import board as boards_text
from gidd_jax.data.sudoku import kernels
from gidd_jax.data.sudoku.board import Box
from gidd_jax.errors import InputError

FAST = importlib.util.find_spec("numba") is not None
"""Whether numba is here to compile the search; without it the same search runs 10 to 20 times slower."""


class Labels(NamedTuple):
    """How hard N puzzles are: each entry is an array [N].

    ``naked`` bool, naked singles alone fill the board; ``singles`` bool, naked and hidden singles do; ``guesses``
    int32, digits tried in open cells until the search had proven the answer the only one (0 if singles fill the board).
    """

    naked: np.ndarray
    singles: np.ndarray
    guesses: np.ndarray


class Desk(NamedTuple):
    """The search functions (compiled or not), the tables of a board shape, and room to search in."""

    run: types.SimpleNamespace
    peers: np.ndarray | list
    units: np.ndarray | list
    holders: np.ndarray | list
    ascending: np.ndarray | list
    masks: np.ndarray | list
    done: np.ndarray | list
    at: np.ndarray | list
    left: np.ndarray | list
    full: int
    compiled: bool

    def array(self, values: np.ndarray) -> np.ndarray | list:
        """A copy as what the functions take: an int64 array for compiled ones, lists for plain Python, for speed."""
        return np.array(values, np.int64) if self.compiled else np.asarray(values).tolist()

    def search(self, limit: int, found: np.ndarray | list, rank: np.ndarray | list | None = None) -> tuple[int, int]:
        """Solutions (up to ``limit``) and guesses from the candidates in ``masks[0]``; the first goes to ``found``."""
        rank = self.ascending if rank is None else rank
        room = (self.masks, self.done, self.at, self.left, self.peers, self.units, self.full)
        return self.run.search(*room, True, rank, limit, found)


@functools.cache
def desk(box: Box, compiled: bool = FAST) -> Desk:
    """Everything the search needs for a board shape, made once; shared, so not for use by two threads."""
    units, cells = boards_text.units(box), box.cells
    holders = np.argsort(units.ravel(), kind="stable").reshape(cells, 3) // box.size
    depths = np.zeros((cells + 1, cells), np.int64)
    flat = np.zeros(cells + 1, np.int64)
    ascending = np.tile(np.arange(box.size), (cells, 1))
    tables = [boards_text.peers(box), units, holders, ascending, depths, depths > 0, flat, flat]
    tables = [table.copy() if compiled else table.tolist() for table in tables]
    return Desk(_functions(compiled), *tables, full=(1 << box.size) - 1, compiled=compiled)


@functools.cache
def _functions(compiled: bool) -> types.SimpleNamespace:
    # A test hook may have wrapped the functions, which numba could not read.
    plain = {name: inspect.unwrap(each) for name, each in vars(kernels).items() if inspect.isfunction(each)}
    if not compiled:
        return types.SimpleNamespace(**plain)
    import numba

    # Copies of the functions that see each other compiled; the originals stay plain.
    world = dict(vars(kernels))
    for name, each in plain.items():
        copy = types.FunctionType(each.__code__, world, name)
        try:
            world[name] = numba.njit(cache=True)(copy)
        # Nowhere to keep what is compiled: compile it in every process.
        except RuntimeError:
            world[name] = numba.njit(copy)
    return types.SimpleNamespace(**{name: world[name] for name in plain})


def bits(board: np.ndarray) -> np.ndarray:
    """Digits -> one bit each, int64: digit d is bit d - 1, a blank is 0."""
    return np.where(board > 0, 1 << np.maximum(board.astype(np.int64) - 1, 0), 0)


def digits(masks: np.ndarray | list) -> np.ndarray:
    """The inverse of ``bits``, for boards of at most 16 digits: uint8."""
    masks = np.asarray(masks, np.int64)
    return np.where(masks > 0, np.log2(np.maximum(masks, 1)) + 1, 0).astype(np.uint8)


def count(question: np.ndarray, box: Box | None = None, limit: int = 2, compiled: bool = FAST) -> int:
    """Solutions of a puzzle uint8 [cells], counted up to ``limit``: 1 says that its answer is the only one."""
    return _solutions(question, box, limit, compiled)[0]


def solve(question: np.ndarray, box: Box | None = None, compiled: bool = FAST) -> np.ndarray:
    """The only answer of a puzzle, uint8 [cells]; raises ``InputError`` where there is none or more than one."""
    solutions, answer = _solutions(question, box, 2, compiled)
    if solutions != 1:
        raise InputError(f"puzzle {boards_text.format(question)}: it has {('no', '', 'several')[solutions]} solutions")
    return answer


def label(question: np.ndarray, box: Box | None = None, compiled: bool = FAST) -> Labels:
    """Grade puzzles uint8 [N, cells]."""
    box = box or Box.of(question.shape[-1])
    room = desk(box, compiled)
    rows = []
    for board in bits(question):
        board, solved = room.array(board), []
        for hidden in (False, True):
            room.run.start(board, room.masks[0], room.done[0], room.full)
            sound = room.run.settle(room.masks[0], room.done[0], room.peers, room.units, room.full, hidden)
            solved.append(sound and all(room.done[0]))
        rows.append((*solved, 0 if solved[1] else room.search(2, room.array(np.zeros(box.cells)))[1]))
    naked, singles, guesses = np.array(rows, np.int32).reshape(-1, 3).T
    return Labels(naked.astype(bool), singles.astype(bool), guesses)


def _solutions(question: np.ndarray, box: Box | None, limit: int, compiled: bool) -> tuple[int, np.ndarray]:
    box = box or Box.of(len(question))
    room = desk(box, compiled)
    found = room.array(np.zeros(box.cells))
    room.run.start(room.array(bits(question)), room.masks[0], room.done[0], room.full)
    return room.search(limit, found)[0], digits(found)
