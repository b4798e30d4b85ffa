"""Sudoku boards of any box shape: read, check, split, make, solve."""

from gidd_jax.data.sudoku.board import Box, format, parse, show, units, violations
from gidd_jax.data.sudoku.boards import UNRATED, Boards, by_rating, rating_tiers, tabulate, tiers
from gidd_jax.data.sudoku.generate import Kind, generate
from gidd_jax.data.sudoku.grids import grids
from gidd_jax.data.sudoku.load import load
from gidd_jax.data.sudoku.solve import Labels, count, label, solve
from gidd_jax.data.sudoku.split import Splits, split
from gidd_jax.data.sudoku.write import write_csv
from gidd_jax.data.sudoku.wrong import wrong_branch

__all__ = [
    "UNRATED",
    "Boards",
    "Box",
    "Kind",
    "Labels",
    "Splits",
    "by_rating",
    "count",
    "format",
    "generate",
    "grids",
    "label",
    "load",
    "parse",
    "rating_tiers",
    "show",
    "solve",
    "split",
    "tabulate",
    "tiers",
    "units",
    "violations",
    "write_csv",
    "wrong_branch",
]
