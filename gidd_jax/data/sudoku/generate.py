"""New puzzles with a proven single answer: easy ones with many clues, and minimal ones."""

import itertools
from typing import Literal, get_args

import numpy as np

from gidd_jax.data.sudoku.board import Box
from gidd_jax.data.sudoku.boards import Boards, tabulate
from gidd_jax.data.sudoku.grids import grids
from gidd_jax.data.sudoku.solve import FAST, Desk, Labels, bits, desk, label
from gidd_jax.errors import InputError

Kind = Literal["kaggle", "minimal", "singles", "search"]
"""``kaggle``: clues taken while the digit keeps one place in a unit, as in the Kaggle set, and filled by naked singles.
``minimal``: no clue can go; ``singles`` and ``search``: minimal ones that singles do, or do not, fill."""

BATCH = 32
"""Grids drawn from one seed; a longer run begins with the boards of a shorter one."""

PATIENCE = 50_000
"""Grids tried in a row without a new board before giving up."""

KAGGLE_CLUES = {Box(3, 3): (29, 36)}
KAGGLE_TRIES, KAGGLE_FEW = 10, 23


def generate(
    kind: Kind,
    count: int,
    box: Box,
    clues: int | tuple[int, int] | None = None,
    seed: int = 0,
    compiled: bool = FAST,
) -> tuple[Boards, Labels]:
    """``count`` different puzzles and their labels; the same seed gives the same boards, compiled or not.

    ``clues`` is an exact number of given cells or an inclusive range. The rating of a board is its guesses, its source
    the kind (with the clues, where exact, as in ``singles24``).

    Raises ``InputError`` for an unknown kind, and where 50,000 grids in a row give no new board.
    """
    if kind not in get_args(Kind):
        raise InputError(f"kind {kind!r}: give one of {', '.join(get_args(Kind))}")
    if count < 1 or seed < 0:
        raise InputError(f"count {count}, seed {seed}: give a count above 0 and a seed of 0 or more")
    source = f"{kind}{clues}" if isinstance(clues, int) else kind
    low, high = _range(kind, clues, box)
    make = _kaggle if kind == "kaggle" else _minimal
    kept: dict[bytes, tuple] = {}
    idle = 0
    for batch in itertools.count():
        rng = np.random.default_rng([seed, get_args(Kind).index(kind), batch])
        answer = grids(BATCH, box, rng, compiled)
        question = make(answer, rng, desk(box, compiled))
        given = np.count_nonzero(question, axis=1)
        fit = (given >= low) & (given <= high)
        question, answer = question[fit], answer[fit]
        labels = label(question, box, compiled)
        fit = {"kaggle": labels.naked, "minimal": labels.naked | True, "singles": labels.singles}.get(
            kind, ~labels.singles
        )
        before = len(kept)
        for row in np.flatnonzero(fit):
            kept.setdefault(question[row].tobytes(), (question[row], answer[row], *(each[row] for each in labels)))
        if len(kept) >= count:
            break
        idle = idle + BATCH if len(kept) == before else 0
        if idle >= PATIENCE:
            raise InputError(
                f"kind {kind!r}, box {box}, {low} to {high} clues: {len(kept)} boards and then none in {idle} grids; "
                "ask for fewer or for other clues"
            )
    question, answer, *labels = map(np.array, zip(*itertools.islice(kept.values(), count), strict=True))
    labels = Labels(*labels)
    return tabulate(question, answer, source, box, source, labels.guesses), labels


def _range(kind: Kind, clues: int | tuple[int, int] | None, box: Box) -> tuple[int, int]:
    low, high = (clues, clues) if isinstance(clues, int) else clues or (1, box.cells)
    if not 1 <= low <= high <= box.cells:
        raise InputError(f"clues {low} to {high}: give 1 to {box.cells}, the smaller first")
    if kind == "kaggle" and clues is None:
        return KAGGLE_CLUES.get(box, (low, high))
    return low, high


def _minimal(answer: np.ndarray, rng: np.random.Generator, room: Desk) -> np.ndarray:
    order = rng.random(answer.shape).argsort(axis=1)
    found = room.array(np.zeros(answer.shape[1]))
    space = (room.masks, room.done, room.at, room.left, room.peers, room.units, room.full, room.ascending, found)
    question = np.empty_like(answer)
    for row, board in enumerate(bits(answer)):
        board = room.array(board)
        room.run.minimise(board, room.array(order[row]), *space)
        question[row] = answer[row] * (np.array(board) > 0)
    return question


def _kaggle(answer: np.ndarray, rng: np.random.Generator, room: Desk) -> np.ndarray:
    """The fewest clues of ten tries for each grid."""
    orders = rng.random((len(answer), KAGGLE_TRIES, answer.shape[1])).argsort(axis=2)
    question = np.empty_like(answer)
    for row, full in enumerate(bits(answer)):
        fewest = answer.shape[1] + 1
        for order in orders[row]:
            board = room.array(full)
            clues = room.run.thin(board, room.array(order), room.holders, room.peers, room.units)
            if clues < fewest:
                fewest, question[row] = clues, answer[row] * (np.array(board) > 0)
            if clues <= KAGGLE_FEW:
                break
    return question
