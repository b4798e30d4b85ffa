"""What the studies train on."""

from gidd_jax.data import sudoku

__all__ = ["sudoku"]
