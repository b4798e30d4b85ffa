"""The k-pass decoder of the source posts, as a jitted scan."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Integer

from gidd_jax.sampling import heads
from gidd_jax.sampling.draws import ranks
from gidd_jax.sampling.heads import Predict
from gidd_jax.types import PRNGKey


def k_pass(
    predict: Predict,
    question_BxS: Integer[Array, "B S"],
    key: PRNGKey,
    k: int | Int[Array, ""],
    digits: int,
    select: Literal["holding", "confidence"] = "holding",
    mask_id: int | None = None,
    passes: int | Int[Array, ""] | None = None,
) -> tuple[Integer[Array, "B S"], Int[Array, "B"]]:
    """Fill the unknown cells (0) of each board, k cells a pass -> (board, passes each board needed).

    Unknown cells start as uniform random digits, or as `mask_id`. Each pass runs `predict` once, takes the k unresolved
    cells of every board with the highest holding score (most corrupted first) or the highest softmax confidence of the
    jump, ties in cell order, writes the jump's best digit and never revisits them. A board without unresolved cells
    stays as it is; k >= S is one shot. The key is consumed.

    k and `passes` may be traced, so that one program serves every k. `passes` is ceil(S / k) if not given, and wants
    ceil(the most unknown cells of a board / k): with fewer, the cells left over keep their starting noise. Source: the
    posts' `gidd_inference`, which cannot revise a cell.
    """
    unknown_BxS = question_BxS == 0
    start = (heads.start(key, question_BxS, digits, mask_id), unknown_BxS)

    def one_pass(_, state):
        z_BxS, unresolved_BxS = state
        share_B = unresolved_BxS.sum(1) / jnp.maximum(unknown_BxS.sum(1), 1)
        jump_BxSxV, holding_BxS = predict(z_BxS, share_B)
        score_BxS = holding_BxS if select == "holding" else jax.nn.softmax(jump_BxSxV).max(-1)
        chosen_BxS = unresolved_BxS & (ranks(score_BxS, unresolved_BxS) < k)
        digit_BxS = (jnp.argmax(jump_BxSxV, -1) + 1).astype(z_BxS.dtype)
        return jnp.where(chosen_BxS, digit_BxS, z_BxS), unresolved_BxS & ~chosen_BxS

    if passes is None:
        passes = -(-question_BxS.shape[1] // k)
    board_BxS, _ = jax.lax.fori_loop(0, passes, one_pass, start)
    return board_BxS, -(-unknown_BxS.sum(1) // k)
