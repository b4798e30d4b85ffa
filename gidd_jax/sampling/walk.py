"""Steps on boards, each with one model call, until they are done or every board stands still."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Integer

from gidd_jax.types import Tree


class Walk(NamedTuple):
    """Boards, the model calls each of them used, and what every step started from (for ``history`` steps)."""

    board: Integer[Array, "B S"]
    calls: Int[Array, "B"]
    history: Integer[Array, "T B S"]


def walk(
    step: Callable[[Tree, Tree, Int[Array, ""]], tuple[Tree, Tree, Bool[Array, "B"]]],
    z: Integer[Array, "B S"],
    known: Tree,
    going: Bool[Array, "B"],
    steps: int | Int[Array, ""],
    history: int = 0,
) -> Walk:
    """``step(z, known, i) -> (z, known, going)`` while some board is going, at most ``steps`` (traced) times.

    ``known`` is what it carries besides z. A board that is not going keeps its cells from then on.
    """

    def onward(carry: tuple) -> tuple:
        i, z, known, going_B, calls_B, past = carry
        past = past.at[i].set(z, mode="drop") if history else past
        new, known, still_B = step(z, known, i)
        z = jnp.where(going_B[:, None], new, z)
        return i + 1, z, known, going_B & still_B, calls_B + going_B, past

    def more(carry: tuple) -> Bool[Array, ""]:
        return (carry[0] < steps) & carry[3].any()

    past = jnp.zeros((history, *z.shape), z.dtype)
    start = (jnp.int32(0), z, known, going, jnp.zeros(z.shape[0], jnp.int32), past)
    done, z, _, _, calls, past = jax.lax.while_loop(more, onward, start)
    after = jnp.arange(history)[:, None, None] >= done
    return Walk(z, calls, jnp.where(after, z[None], past))
