"""The k-pass decoder of the source posts, as a jitted scan."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Integer

from gidd_jax.sampling import heads
from gidd_jax.sampling.draws import ranks
from gidd_jax.sampling.heads import Predict
from gidd_jax.sampling.walk import Walk, walk
from gidd_jax.types import PRNGKey, Tree


def k_pass(
    predict: Predict,
    question_BxS: Integer[Array, "B S"],
    key: PRNGKey,
    k: int | Int[Array, ""],
    digits: int,
    select: Literal["holding", "confidence"] = "holding",
    mask_id: int | None = None,
    passes: int | Int[Array, ""] | None = None,
    history: int = 0,
) -> Walk:
    """Fill the unknown cells (0) of each board, k cells a pass -> boards, and the passes each of them needed.

    Unknown cells start as uniform random digits, or as `mask_id`. Each pass runs `predict` once, takes the k unresolved
    cells of every board with the highest holding score (most corrupted first) or the highest softmax confidence of the
    jump, ties in cell order, writes the jump's best digit and never revisits them. A board without unresolved cells
    stays as it is; k >= S is one shot. The key is consumed.

    k and `passes` may be traced, so that one program serves every k. With fewer `passes` than ceil(unknown cells / k)
    the cells left over keep their starting noise. Source: the posts' `gidd_inference`, which cannot revise a cell.
    """
    unknown_BxS = question_BxS == 0

    def one_pass(z_BxS: Tree, unresolved_BxS: Tree, i: Int[Array, ""]) -> tuple[Tree, Tree, Tree]:
        share_B = unresolved_BxS.sum(1) / jnp.maximum(unknown_BxS.sum(1), 1)
        jump_BxSxV, holding_BxS = predict(z_BxS, share_B)
        score_BxS = holding_BxS if select == "holding" else jax.nn.softmax(jump_BxSxV).max(-1)
        chosen_BxS = unresolved_BxS & (ranks(score_BxS, unresolved_BxS) < k)
        digit_BxS = (jnp.argmax(jump_BxSxV, -1) + 1).astype(z_BxS.dtype)
        left_BxS = unresolved_BxS & ~chosen_BxS
        return jnp.where(chosen_BxS, digit_BxS, z_BxS), left_BxS, left_BxS.any(1)

    z_BxS = heads.start(key, question_BxS, digits, mask_id)
    passes = question_BxS.shape[1] if passes is None else passes
    return walk(one_pass, z_BxS, unknown_BxS, unknown_BxS.any(1), passes, history)
