"""What the studies train on."""

from gidd_jax.data import sudoku, text

__all__ = ["sudoku", "text"]
