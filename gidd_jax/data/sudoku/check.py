"""Text columns to boards, and the first thing wrong with each row; whole columns at a time."""

import numpy as np

from gidd_jax.data.sudoku.board import BAD, DIGITS, SYMBOLS, Box, violations

FINE, LENGTH, CHARACTER, BLANK, CONTRADICTION, UNIT = range(6)


def decode(texts: "pyarrow.Array", box: Box) -> tuple[np.ndarray, np.ndarray]:
    """A text column -> digits uint8 [n, cells] and the number of bytes of each row [n].

    Rows of a wrong length, and characters that are no digit of the board, hold 255.
    """
    # The Arrow buffers themselves: one long run of bytes and where each row starts. No Python string is made.
    _, offsets, data = texts.buffers()
    start = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    length = np.diff(start)
    data = np.frombuffer(data if data is not None else b"", np.uint8)
    digits = np.where(DIGITS > box.size, BAD, DIGITS).astype(np.uint8)
    if (length == box.cells).all():
        return digits[data[start[0] : start[-1]].reshape(-1, box.cells)], length
    board = np.full((len(texts), box.cells), BAD, np.uint8)
    whole = length == box.cells
    board[whole] = digits[data[start[:-1][whole, None] + np.arange(box.cells)]]
    return board, length


def faults(question: np.ndarray, answer: np.ndarray, lengths: tuple[np.ndarray, np.ndarray], box: Box) -> np.ndarray:
    """The first fault of each row as 2 * kind + (1 if it is the answer's): uint8 [n], 0 where there is none."""
    found = np.zeros(len(question), np.uint8)

    def note(wrong: np.ndarray, kind: int, field: int) -> None:
        found[wrong & (found == 0)] = 2 * kind + field

    for field, board in enumerate((question, answer)):
        note(lengths[field] != box.cells, LENGTH, field)
        note((board == BAD).any(axis=1), CHARACTER, field)
    note((answer == 0).any(axis=1), BLANK, 1)
    note(((question != 0) & (question != answer)).any(axis=1), CONTRADICTION, 1)
    note(violations(answer, box) > 0, UNIT, 1)
    return found


def explain(fault: int, question: str, answer: str, box: Box) -> tuple[str, str]:
    """A fault of one row -> (``"question"`` or ``"answer"``, what is wrong and what it should be)."""
    kind, field = divmod(fault, 2)
    text = (question, answer)[field]
    if kind == LENGTH:
        what = f"{len(text)} characters where box {box} needs {box.cells}"
    elif kind == CHARACTER:
        allowed = SYMBOLS[: box.size + 1] + "0"
        cell, character = next((cell, each) for cell, each in enumerate(text, 1) if each not in allowed)
        what = f"character {character!r} at cell {cell}; use 1 to {SYMBOLS[box.size]}, or . or 0 for a blank"
    elif kind == BLANK:
        cell = next(cell for cell, each in enumerate(text, 1) if each in ".0")
        what = f"cell {cell} is blank; an answer is a full grid"
    elif kind == CONTRADICTION:
        pairs = enumerate(zip(question, answer, strict=True), 1)
        cell, given, filled = next((cell, q, a) for cell, (q, a) in pairs if q not in ".0" and q != a)
        what = f"cell {cell} is {filled}, which contradicts the given {given} of the question"
    else:
        broken = violations(DIGITS[np.frombuffer(text.encode(), np.uint8)], box)
        what = f"{broken} of its {3 * box.size} rows, columns and boxes repeat a digit"
    return ("question", "answer")[field], what
