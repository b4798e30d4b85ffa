"""Boards filled along a wrong branch of the search, where no rule is broken yet."""

import numpy as np

from gidd_jax.data.sudoku.board import Box, format, peers
from gidd_jax.data.sudoku.solve import FAST, Desk, bits, desk, digits
from gidd_jax.errors import InputError


def wrong_branch(
    question: np.ndarray, answer: np.ndarray, seed: int = 0, box: Box | None = None, compiled: bool = FAST
) -> tuple[np.ndarray, np.ndarray]:
    """Guess one cell wrongly and fill in the singles that follow, until one would leave a cell without a digit.

    Returns the board uint8 [cells], an extension of the question in which no unit repeats a digit, and the cells that
    disagree with the answer, bool [cells]: at least one. As in the search, all singles are placed before the guess,
    unless they fill the board; guessed is a random wrong candidate of a random open cell. Where every guess would leave
    a cell without a digit at once, the board is the question and the guess. Raises ``InputError`` where the givens
    leave every blank cell its true digit only.
    """
    box = box or Box.of(len(question))
    room = desk(box, compiled)
    start = _before(bits(question), room, box)
    truth = bits(answer)
    choices = [(cell, 1 << d) for cell in range(box.cells) for d in range(box.size) if start[cell] & (1 << d)]
    choices = [(cell, bit) for cell, bit in choices if bit != truth[cell] and start[cell] != bit]
    if not choices:
        raise InputError(f"puzzle {format(question)}: every blank cell has one candidate; leave the puzzle out")
    order = np.random.default_rng(seed).permutation(len(choices))
    for choice in order:
        done = start & (start - 1) == 0
        placed = room.array(np.where(done, start, 0))
        room.run.stray(room.array(start), room.array(done), placed, *choices[choice], room.peers, room.units)
        board = digits(placed)
        wrong = (board > 0) & (board != answer)
        if wrong.any():
            return board, wrong
    # Every guess leaves some cell without a digit, which still repeats none.
    cell, bit = choices[order[0]]
    board = question.copy()
    board[cell] = bit.bit_length()
    return board, board != question


def _before(given: np.ndarray, room: Desk, box: Box) -> np.ndarray:
    """Candidates of each cell before the guess, one bit where the cell is filled."""
    room.run.start(room.array(given), room.masks[0], room.done[0], room.full)
    room.run.settle(room.masks[0], room.done[0], room.peers, room.units, room.full, True)
    if not all(room.done[0]):
        return np.array(room.masks[0])
    seen = np.bitwise_or.reduce(given[peers(box)], axis=1)
    return np.where(given > 0, given, room.full & ~seen)
