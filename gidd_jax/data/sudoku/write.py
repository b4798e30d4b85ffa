"""Boards -> a CSV file that ``load`` reads."""

import csv
import pathlib

import numpy as np

from gidd_jax import files
from gidd_jax.data.sudoku.board import format
from gidd_jax.data.sudoku.boards import Boards
from gidd_jax.data.sudoku.solve import Labels

COLUMNS = ("source", "question", "answer", "clues", "rating", "naked", "singles", "guesses")


def write_csv(path: str | pathlib.Path, boards: Boards, labels: Labels) -> None:
    """Write boards with columns source, question, answer, clues, rating, naked, singles, guesses.

    The file appears whole or not at all.
    """
    numbers = np.stack([boards.clues, boards.rating, *labels], axis=1).astype(np.int64).tolist()

    def fill(pending: pathlib.Path) -> None:
        with pending.open("w", newline="", encoding="ascii") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for source, question, answer, row in zip(
                boards.source, boards.question, boards.answer, numbers, strict=True
            ):
                writer.writerow([source, format(question), format(answer), *row])

    files.write(pathlib.Path(path), fill)
