"""``gidd-jax generate-puzzles``: new boards with a unique solution, labelled by what it takes to solve them."""

import argparse
import pathlib
from typing import get_args

from gidd_jax.data import sudoku
from gidd_jax.data.sudoku.solve import FAST
from gidd_jax.errors import InputError

EXAMPLE = "gidd-jax generate-puzzles minimal boards.csv --count 10000 --clues 24"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Writes the CSV file; raises InputError for settings that give no boards."""
    parser.add_argument(
        "kind",
        choices=get_args(sudoku.Kind),
        help="kaggle: many clues, easy; minimal: no clue can go; singles, search: solvable by singles alone, or not",
    )
    parser.add_argument("out", type=pathlib.Path, metavar="FILE", help="CSV file to write")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="puzzles [1000]")
    parser.add_argument("--box", default="3x3", metavar="RxC", help="rows x columns of a box: 2x2, 2x3 or 3x3 [3x3]")
    parser.add_argument("--clues", metavar="N|LOW-HIGH", help="exact number of given cells, or a range like 20-29")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same puzzles [0]")
    args = parser.parse_args(arguments)
    if args.out.is_dir():
        raise InputError(f"{args.out}: is a folder; give a file")
    if not args.out.parent.is_dir():
        raise InputError(f"{args.out}: its folder does not exist; make it first")
    if not FAST:
        print("numba is not installed: generating 10 to 20 times slower; pip install gidd-jax[puzzles] for speed")
    box = sudoku.Box.parse(args.box)
    boards, labels = sudoku.generate(args.kind, args.count, box, _clues(args.clues), args.seed)
    sudoku.write_csv(args.out, boards, labels)
    low, high = boards.clues.min(), boards.clues.max()
    print(f"{args.out}: {len(boards)} puzzles, {low} to {high} clues, {100 * labels.singles.mean():.1f} % by singles")
    return 0


def _clues(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    ends = text.split("-")
    if len(ends) > 2 or not all(end.isascii() and end.isdigit() for end in ends):
        raise InputError(f"clues {text!r}: give a number like 24 or a range like 20-29")
    return int(ends[0]) if len(ends) == 1 else (int(ends[0]), int(ends[1]))
