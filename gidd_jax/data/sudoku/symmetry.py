"""Random symmetries of Sudoku as one gather and one digit lookup per board, for use inside jit and vmap."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, Key

from gidd_jax.data.sudoku.board import Box


class Symmetry(NamedTuple):
    """Maps boards to boards: ``new[i] = digits[board[permutation[i]]]``; ``digits[0]`` is 0, so blanks stay blank."""

    permutation: Int[Array, "*batch cells"]
    digits: Int[Array, "*batch symbols"]


def random_symmetry(key: Key[Array, ""], box: Box) -> Symmetry:
    """One uniform element of the symmetry group of a board shape; consumes ``key``.

    Digits, bands, rows in each band, stacks, columns in each stack, and the transpose where the box is square:
    permutation int32 [cells], digits int32 [size + 1].
    """
    return _symmetry(jax.random.uniform(key, (_draws(box),)), box)


def apply(symmetry: Symmetry, board: Integer[Array, " cells"]) -> Integer[Array, " cells"]:
    """``digits[board[permutation]]``: one board [cells], same dtype out."""
    return symmetry.digits[board[symmetry.permutation]].astype(board.dtype)


def augment(
    key: Key[Array, ""], question: Integer[Array, "B cells"], answer: Integer[Array, "B cells"], box: Box
) -> tuple[Integer[Array, "B cells"], Integer[Array, "B cells"]]:
    """Each board under a symmetry of its own, question and answer under the same one; consumes ``key``."""
    draws = jax.random.uniform(key, (question.shape[0], _draws(box)))
    symmetry = jax.vmap(lambda draw: _symmetry(draw, box))(draws)
    return jax.vmap(apply)(symmetry, question), jax.vmap(apply)(symmetry, answer)


def _draws(box: Box) -> int:
    return 3 * box.size + box.cols + box.rows + 1


def _symmetry(draw: Float[Array, " draws"], box: Box) -> Symmetry:
    size, bands, stacks = box.size, box.cols, box.rows
    digits, rows, columns, band, stack, turn = jnp.split(
        draw, [size, 2 * size, 3 * size, 3 * size + bands, 3 * size + bands + stacks]
    )
    row = (_ranks(band)[:, None] * box.rows + _ranks(rows.reshape(bands, box.rows))).reshape(size, 1)
    column = (_ranks(stack)[:, None] * box.cols + _ranks(columns.reshape(stacks, box.cols))).reshape(1, size)
    upright = row * size + column
    if box.rows == box.cols:
        upright = jnp.where(turn[0] < 0.5, upright, column * size + row)
    return Symmetry(upright.reshape(-1), jnp.concatenate([jnp.zeros(1, jnp.int32), 1 + _ranks(digits)]))


def _ranks(draw: Float[Array, "... n"]) -> Int[Array, "... n"]:
    """A uniform random permutation from independent uniforms, as ranks; ties go to the lower index.

    Comparing all pairs fuses with its surroundings, which a sort does not: n is at most 16.
    """
    index = jnp.arange(draw.shape[-1])
    mine, other = draw[..., :, None], draw[..., None, :]
    earlier = index[None, :] < index[:, None]
    earlier = jnp.broadcast_to(earlier, jnp.broadcast_shapes(mine.shape, other.shape))
    return jnp.sum((other < mine) | ((other == mine) & earlier), axis=-1, dtype=jnp.int32)
