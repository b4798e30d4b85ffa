"""The command that writes new puzzles to a file."""

import argparse
import csv
import os
import pathlib
import tempfile
from typing import get_args

import numpy as np

from gidd_jax.data.sudoku.board import Box, format
from gidd_jax.data.sudoku.boards import Boards
from gidd_jax.data.sudoku.generate import Kind, generate
from gidd_jax.data.sudoku.solve import FAST, Labels
from gidd_jax.errors import InputError

COLUMNS = ("source", "question", "answer", "clues", "rating", "naked", "singles", "guesses")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``command`` reads."""
    parser.add_argument("kind", choices=get_args(Kind), help="easy ones as in the Kaggle set, or minimal ones")
    parser.add_argument("out", type=pathlib.Path, help="CSV file to write")
    parser.add_argument("--count", type=int, default=1000, help="puzzles (default %(default)s)")
    parser.add_argument("--box", default="3x3", help="rows x columns of a box: 2x2, 2x3 or 3x3 (default %(default)s)")
    parser.add_argument("--clues", help="exact number of given cells, or a range like 20-29")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same puzzles (default %(default)s)")


def command(args: argparse.Namespace) -> None:
    """Generate puzzles and write them to ``args.out``; raises ``InputError`` for settings that give none."""
    if not args.out.parent.is_dir():
        raise InputError(f"{args.out}: its folder does not exist; make it first")
    if not FAST:
        print("numba is not installed: generating 10 to 20 times slower; pip install gidd-jax[puzzles] for speed")
    boards, labels = generate(args.kind, args.count, Box.parse(args.box), _clues(args.clues), args.seed)
    write_csv(args.out, boards, labels)
    low, high = boards.clues.min(), boards.clues.max()
    print(f"{args.out}: {len(boards)} puzzles, {low} to {high} clues, {100 * labels.singles.mean():.1f} % by singles")


def write_csv(path: str | pathlib.Path, boards: Boards, labels: Labels) -> None:
    """Write boards with columns source, question, answer, clues, rating, naked, singles, guesses.

    The file appears whole or not at all.
    """
    path = pathlib.Path(path)
    numbers = np.stack([boards.clues, boards.rating, *labels], axis=1).astype(np.int64)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", newline="", encoding="ascii") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for source, question, answer, row in zip(
                boards.source, boards.question, boards.answer, numbers.tolist(), strict=True
            ):
                writer.writerow([source, format(question), format(answer), *row])
        os.chmod(unfinished, 0o644)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def _clues(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    ends = text.split("-")
    if len(ends) > 2 or not all(end.isascii() and end.isdigit() for end in ends):
        raise InputError(f"clues {text!r}: give a number like 24 or a range like 20-29")
    return int(ends[0]) if len(ends) == 1 else (int(ends[0]), int(ends[1]))
