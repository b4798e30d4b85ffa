"""Boards of any box shape: text in and out, units, violations."""

import dataclasses
import functools

import numpy as np

from gidd_jax.errors import InputError

SYMBOLS = ".123456789ABCDEFG"
"""The character of each digit; the blank is digit 0."""

BAD = 255
"""What ``DIGITS`` gives for a character that is no digit."""

DIGITS = np.full(256, BAD, np.uint8)
"""Byte of a character -> digit."""
DIGITS[np.frombuffer(SYMBOLS.encode(), np.uint8)] = np.arange(len(SYMBOLS))
DIGITS[ord("0")] = 0


@dataclasses.dataclass(frozen=True)
class Box:
    """The small rectangle of a board: ``rows`` x ``cols`` cells, so ``rows * cols`` digits and bands of ``rows`` rows.

    Raises ``InputError`` for sides below 1 or more digits than there are symbols (16).
    """

    rows: int
    cols: int

    def __post_init__(self):
        if min(self.rows, self.cols) < 1 or not 1 < self.rows * self.cols < len(SYMBOLS):
            raise InputError(f"box {self.rows}x{self.cols}: a box has 2 to {len(SYMBOLS) - 1} cells; give one like 2x3")

    @property
    def size(self) -> int:
        """Digits, and also rows, columns and boxes of a board."""
        return self.rows * self.cols

    @property
    def cells(self) -> int:
        return self.size**2

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols}"

    @classmethod
    def parse(cls, text: str) -> "Box":
        """``"2x3"`` -> a box of 2 rows and 3 columns; raises ``InputError`` for any other form."""
        rows, _, cols = text.lower().partition("x")
        if not (rows.isascii() and rows.isdigit() and cols.isascii() and cols.isdigit()):
            raise InputError(f"box {text!r}: give rows x columns, like 2x3")
        return cls(int(rows), int(cols))

    @classmethod
    def of(cls, cells: int) -> "Box":
        """The usual box of a board of ``cells`` cells; raises ``InputError`` where there is none."""
        if cells not in USUAL:
            raise InputError(f"{cells} cells: a board has {', '.join(map(str, USUAL))}; for other shapes give the box")
        return USUAL[cells]


USUAL = {box.cells: box for box in (Box(2, 2), Box(2, 3), Box(3, 3), Box(4, 4))}


def parse(text: str, box: Box | None = None) -> np.ndarray:
    """Text of a board, '.' or '0' for a blank and letters from A for digits above 9 -> uint8 [cells].

    Raises ``InputError`` for a wrong length or a character that is no digit of the board.

    >>> sudoku.parse("1.3. .... 2... ...4".replace(" ", "")).tolist()
    [1, 0, 3, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 4]
    """
    box = box or Box.of(len(text))
    if len(text) != box.cells:
        raise InputError(f"board: {len(text)} characters where box {box} needs {box.cells}")
    for cell, character in enumerate(text, 1):
        if character not in SYMBOLS[: box.size + 1] and character != "0":
            raise InputError(
                f"board: character {character!r} at cell {cell}; use 1 to {SYMBOLS[box.size]}, or . for a blank"
            )
    return DIGITS[np.frombuffer(text.encode("ascii"), np.uint8)]


def format(board: np.ndarray) -> str:
    """A board uint8 [cells] -> its text, '.' for a blank; the inverse of ``parse``."""
    return "".join(SYMBOLS[digit] for digit in np.asarray(board).tolist())


def show(board: np.ndarray, box: Box | None = None) -> str:
    """A board uint8 [cells] -> a grid for people, one line a row, with bars between boxes."""
    box = box or Box.of(len(board))
    lines = []
    for row, digits in enumerate(np.asarray(board).reshape(box.size, box.size)):
        groups = [" ".join(format(group)) for group in digits.reshape(box.rows, box.cols)]
        if row and row % box.rows == 0:
            lines.append("-+-".join("-" * len(group) for group in groups))
        lines.append(" | ".join(groups))
    return "\n".join(lines)


@functools.cache
def units(box: Box) -> np.ndarray:
    """Cells of every row, then column, then box: int [3 * size, size], read-only."""
    rows = np.arange(box.cells).reshape(box.size, box.size)
    boxes = rows.reshape(box.cols, box.rows, box.rows, box.cols).swapaxes(1, 2).reshape(box.size, box.size)
    table = np.concatenate([rows, rows.T, boxes])
    table.flags.writeable = False
    return table


@functools.cache
def peers(box: Box) -> np.ndarray:
    """Cells that share a unit with each cell, ascending: int [cells, 2 * (size - 1) + (rows - 1) * (cols - 1)]."""
    seen = np.zeros((box.cells, box.cells), bool)
    for unit in units(box):
        seen[np.ix_(unit, unit)] = True
    np.fill_diagonal(seen, False)
    table = np.nonzero(seen)[1].reshape(box.cells, -1)
    table.flags.writeable = False
    return table


def violations(board: np.ndarray, box: Box | None = None) -> int | np.ndarray:
    """Rows, columns and boxes that are not a permutation of 1..size: 0 to 27 for 9x9; a blank breaks its three units.

    uint8 [cells] -> int; uint8 [N, cells] -> int [N].

    >>> sudoku.violations(sudoku.parse("1234341221434321"))
    0
    >>> sudoku.violations(sudoku.parse("1134341221434321"))  # a row, a column and a box
    3
    """
    board = np.asarray(board)
    box = box or Box.of(board.shape[-1])
    bit = np.zeros(256, np.uint32)
    bit[1 : box.size + 1] = 1 << np.arange(box.size)
    # Cells first, so that each step below is one pass over a long row.
    bits = bit[np.ascontiguousarray(np.atleast_2d(board).T)]
    full = (1 << box.size) - 1
    broken = np.zeros(bits.shape[1], np.int64)
    for unit in units(box):
        broken += np.bitwise_or.reduce(bits[unit], axis=0) != full
    return int(broken[0]) if board.ndim == 1 else broken
