"""Samplers of the two-head model that revise cells: ancestral, resampling what is least trusted, masking it again.

Each makes one call of ``predict`` a step and can be compared with the others at equal numbers of calls. Givens, the
non-zero cells of the question, never change.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Integer

from gidd_jax import corruption, schedules
from gidd_jax.sampling import heads
from gidd_jax.sampling.draws import draw, ranks
from gidd_jax.sampling.gidd import reverse_scan
from gidd_jax.sampling.heads import Predict
from gidd_jax.sampling.walk import Walk, walk
from gidd_jax.types import PRNGKey, Tree


def two_head_ancestral(
    predict: Predict,
    question: Integer[Array, "B S"],
    key: PRNGKey,
    schedule: schedules.Schedule,
    times: Float[Array, "T"],
    temperature: ArrayLike = 1.0,
    wrong: bool = False,
    by_holding: bool = True,
) -> Walk:
    """The reverse process from the prior noise at ``times[0]`` to clean digits, by what both heads believe.

    ``times`` as from ``time_grid``; the belief is ``heads.belief`` (``wrong``: the label the holding head learnt), or
    without ``by_holding`` the jump alone, the one-head form. ``temperature`` (traced) divides the jump's logits. The
    digits of the schedule are 0..n-1, its mask n. Under masked noise nothing is ever revised. Consumes ``key``.
    """
    start_key, scan_key = jax.random.split(key)
    noise = corruption.prior(start_key, schedule, question.shape, times[0])
    first = jnp.where(question == 0, noise, question.astype(noise.dtype) - 1)

    def denoise(z: Int[Array, "B S"], t: Float[Array, "B"]) -> Float[Array, "B S V"]:
        jump, holding = predict(z + 1, t)
        if not by_holding:
            return heads.over_mask(jump / temperature)
        return heads.belief(schedule, jump / temperature, holding, z, t, wrong)

    keys = jax.random.split(scan_key, len(times))
    z, history = reverse_scan(draw, keys, schedule, denoise, first, times, question > 0)
    calls = jnp.full(z.shape[:1], len(times), jnp.int32)
    return Walk((z + 1).astype(question.dtype), calls, (history + 1).astype(question.dtype))


def resample(
    predict: Predict,
    question: Integer[Array, "B S"],
    key: PRNGKey,
    steps: int | Int[Array, ""],
    digits: int,
    k: int | Int[Array, ""] = 1,
    select: Literal["holding", "confidence"] = "holding",
    temperature: ArrayLike = 1.0,
    spread: ArrayLike = 1.0,
    threshold: ArrayLike = 0.0,
    first: Integer[Array, "B S"] | None = None,
    history: int = 0,
) -> Walk:
    """Rewrites, ``steps`` times, the k cells least trusted with a digit of the jump; any cell may be visited again.

    Distrust d is the holding score, or 1 - J(z) by "confidence", for one-head models. The k cells of highest
    log d + ``spread`` * Gumbel noise are taken: at 0 the k least trusted, at 1 k cells drawn with weights d. Their new
    digit is the likeliest one at ``temperature`` 0, else a draw at that temperature. Cells with d <= ``threshold`` are
    left alone; a board of nothing else stands still from then on and uses no more calls. Starts from uniform digits,
    or ``first``. As t the model is told 1, then the mean distrust of the step before. All numbers but ``digits`` and
    ``history`` are traced. Consumes ``key``.

    Source: DDPD, arXiv 2410.06264, whose planner is the holding head (there k = 1).
    """
    unknown = question == 0
    start_key, steps_key = jax.random.split(key)
    z = heads.start(start_key, question, digits) if first is None else jnp.where(unknown, first, question)

    def step(z: Tree, t_B: Tree, i: Int[Array, ""]) -> tuple[Tree, Tree, Bool[Array, "B"]]:
        jump, holding = predict(z, t_B)
        new, blur = _drawn(jax.random.fold_in(steps_key, i), jump, temperature, spread)
        log_d = heads.distrust(jump, holding, z, select == "holding")
        doubted = unknown & (jnp.exp(log_d) > threshold)
        chosen = doubted & (ranks(log_d + blur, doubted) < k)
        z = jnp.where(chosen, new.astype(z.dtype), z)
        mean = jnp.where(unknown, jnp.exp(log_d), 0.0).sum(1) / jnp.maximum(unknown.sum(1), 1)
        return z, jnp.maximum(mean, 1 / z.shape[1]), doubted.any(1)

    return walk(step, z, jnp.ones(z.shape[0]), unknown.any(1), steps, history)


def remask(
    predict: Predict,
    question: Integer[Array, "B S"],
    key: PRNGKey,
    steps: int | Int[Array, ""],
    digits: int,
    mask_id: int,
    k: int | Int[Array, ""] = 1,
    temperature: ArrayLike = 1.0,
    spread: ArrayLike = 1.0,
    history: int = 0,
) -> Walk:
    """Reveals the surest masked cells at an even pace, and masks up to k revealed cells again at every step.

    After step i = 1..n, floor(U i / n) of a board's U unknown cells are revealed, so that no mask is left at the end.
    A cell is given the jump's digit (see ``resample`` for ``temperature``), and with it the probability it then had;
    the cells of lowest probability, in the sense of ``spread`` there with d = 1 - probability, are masked again, never
    more than the masks there should be. Revealed cells are not judged anew: a masked model has learnt nothing of them.
    All numbers but ``digits``, ``mask_id`` and ``history`` are traced. Consumes ``key``.

    Source: ReMDM, arXiv 2503.00307, with counts in place of rates (at most k as its cap) and confidences weighed by
    1 - probability in place of exp(-probability).
    """
    unknown = question == 0
    count_B = unknown.sum(1)

    def step(z: Tree, known: Tree, i: Int[Array, ""]) -> tuple[Tree, Tree, Bool[Array, "B"]]:
        t_B, log_d = known
        jump, _ = predict(z, t_B)
        new, blur = _drawn(jax.random.fold_in(key, i), jump, temperature, spread)
        masked = unknown & (z == mask_id)
        shown, shown_B = unknown & ~masked, (unknown & ~masked).sum(1)
        goal_B = count_B * (i + 1) // steps
        again_B = jnp.minimum(jnp.minimum(k, shown_B), count_B - goal_B)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(jump.astype(jnp.float32)), new[..., None] - 1, axis=-1)[..., 0]
        reveal = masked & (ranks(log_p, masked) < (goal_B - shown_B + again_B)[:, None])
        hide = shown & (ranks(log_d + blur, shown) < again_B[:, None])
        z = jnp.where(hide, mask_id, jnp.where(reveal, new.astype(z.dtype), z)).astype(z.dtype)
        log_d = jnp.where(reveal, jnp.log1p(-jnp.exp(log_p)), log_d)
        return z, ((count_B - goal_B) / jnp.maximum(count_B, 1), log_d), count_B > 0

    z = heads.start(key, question, digits, mask_id)
    return walk(step, z, (jnp.ones(z.shape[0]), jnp.zeros(z.shape)), count_B > 0, steps, history)


def _drawn(
    key: PRNGKey, jump: Float[Array, "B S V"], temperature: ArrayLike, spread: ArrayLike
) -> tuple[Int[Array, "B S"], Float[Array, "B S"]]:
    """Digits 1..n ~ softmax(jump / temperature), the likeliest at 0; ``spread`` times noise for the cells' ranks."""
    noise = jax.random.gumbel(key, (*jump.shape[:2], jump.shape[2] + 1))
    return jnp.argmax(jump + temperature * noise[..., 1:], axis=-1) + 1, spread * noise[..., 0]
