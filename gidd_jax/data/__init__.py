"""What the studies train on."""

from gidd_jax.data import images, sudoku, text

__all__ = ["images", "sudoku", "text"]
