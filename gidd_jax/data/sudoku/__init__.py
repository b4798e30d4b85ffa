"""Sudoku boards of any box shape: read, check, split, make, solve."""

from gidd_jax.data.sudoku.board import Box, format, parse, show, units, violations
from gidd_jax.data.sudoku.boards import UNRATED, Boards, tabulate, tiers
from gidd_jax.data.sudoku.load import load

__all__ = ["UNRATED", "Boards", "Box", "format", "load", "parse", "show", "tabulate", "tiers", "units", "violations"]
