"""``gidd-jax generate-puzzles``: new boards with a unique solution, labelled by what it takes to solve them."""

import argparse

from gidd_jax.data.sudoku.command import arguments as declare
from gidd_jax.data.sudoku.command import command

EXAMPLE = "gidd-jax generate-puzzles minimal boards.csv --count 10000 --clues 24"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Writes the CSV file."""
    declare(parser)
    command(parser.parse_args(arguments))
    return 0
