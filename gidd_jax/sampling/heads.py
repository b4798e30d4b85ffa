"""Two heads as a sampler sees them: where a board starts, what both believe of its clean digits, truth in their place.

Boards hold digits 1..n, the mask n + 1, and 0 for an unknown cell of a question.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from gidd_jax import schedules
from gidd_jax.types import PRNGKey

Predict = Callable[[Integer[Array, "B S"], Float[Array, "B"]], tuple[Float[Array, "B S V"], Float[Array, "B S"]]]
"""Board z and each board's t (or what stands in its place) -> (jump logits, of the digit minus 1; holding logits, of
being corrupted)."""


def start(
    key: PRNGKey, question: Integer[Array, "B S"], digits: int, mask_id: int | None = None
) -> Integer[Array, "B S"]:
    """The question with uniform random digits, or ``mask_id``, in its unknown cells; consumes ``key``."""
    if mask_id is None:
        noise = jax.random.randint(key, question.shape, 1, digits + 1).astype(question.dtype)
    else:
        noise = jnp.full_like(question, mask_id)
    return jnp.where(question == 0, noise, question)


def oracle_holding(predict: Predict, answer: Integer[Array, "B S"], swap: ArrayLike = True) -> Predict:
    """``predict`` with a holding head that knows which cells are wrong: +inf where z is not the answer, else -inf.

    ``swap`` (traced) False leaves it as it is. What reads the head inside ``predict``, a gate say, still reads its own.
    """

    def swapped(z: Integer[Array, "B S"], t: Float[Array, "B"]) -> tuple[Float[Array, "B S V"], Float[Array, "B S"]]:
        jump, holding = predict(z, t)
        return jump, jnp.where(swap, jnp.where(z == answer, -jnp.inf, jnp.inf), holding).astype(holding.dtype)

    return swapped


def oracle_jump(predict: Predict, answer: Integer[Array, "B S"], swap: ArrayLike = True) -> Predict:
    """``predict`` with a jump head that knows the answer: logit 0 for its digit, -inf for all others.

    ``swap`` (traced) False leaves it as it is.
    """

    def swapped(z: Integer[Array, "B S"], t: Float[Array, "B"]) -> tuple[Float[Array, "B S V"], Float[Array, "B S"]]:
        jump, holding = predict(z, t)
        right = jnp.arange(1, jump.shape[-1] + 1)[None, None] == answer[..., None]
        return jnp.where(swap, jnp.where(right, 0.0, -jnp.inf), jump).astype(jump.dtype), holding

    return swapped


def posterior(
    jump: Float[Array, "B S V"], holding: Float[Array, "B S"], z: Integer[Array, "B S"], wrong: bool = False
) -> Float[Array, "B S V"]:
    """log P(x_i = v | all cells, z_i among them) in nats, from both heads; z are digits 0..n-1 or any other id, a mask.

        P(v) = (1 - h) [v = z] + h J(v),    h = sigmoid(holding), J = softmax(jump):

    the chain rule over "was the cell resampled", since a cell that was not shows its digit, and what a resampled cell
    shows says nothing of it. ``wrong``: h is the probability that z is not x, and J is renormalised over v != z. At a
    mask h is 1, whatever the head says.
    """
    log_jump = jax.nn.log_softmax(jump.astype(jnp.float32))
    holding = jnp.where(z >= jump.shape[-1], jnp.inf, holding.astype(jnp.float32))
    shown = jnp.arange(jump.shape[-1])[None, None] == z[..., None]
    if wrong:
        others = jax.nn.logsumexp(jnp.where(shown, -jnp.inf, log_jump), axis=-1, keepdims=True)
        sure = jnp.isneginf(others)  # of z, so that no other digit is left to jump to
        log_jump = jnp.where(shown & ~sure, -jnp.inf, log_jump - jnp.where(sure, 0.0, others))
    stays = jnp.where(shown, jax.nn.log_sigmoid(-holding)[..., None], -jnp.inf)
    return jnp.logaddexp(stays, jax.nn.log_sigmoid(holding)[..., None] + log_jump)


def belief(
    schedule: schedules.Schedule,
    jump: Float[Array, "B S V"],
    holding: Float[Array, "B S"],
    z: Integer[Array, "B S"],
    t: ArrayLike,
    wrong: bool = False,
) -> Float[Array, "B S Vm"]:
    """Both heads -> logits of p = P(x_i | all OTHER cells), what ``reverse_probs`` takes; -inf for the mask, put last.

        p(v) = P(v) / q_t(z|v), renormalised, with P the ``posterior`` and q_t(z|v) = alpha_t [v = z] + (beta pi)_t(z).

    ``reverse_probs`` weighs z itself, so that P, which has seen z, would count it twice. Under p its step is exactly
    sum_v P(v) q(z_s | z_t, v), and its last step draws from P. Where the heads agree, that is where
    h = (beta pi)_t(z) / (alpha_t J(z) + (beta pi)_t(z)), p is J: a jump head learnt on resampled cells is that belief
    already, and stands alone in the one-head form. The holding head moves p where the two disagree. z are digits
    0..n-1 and the mask n; t: scalar, [B] or [B,S].
    """
    masses = schedule.masses(schedules.over_cells(t))
    shown = jnp.arange(jump.shape[-1])[None, None] == z[..., None]
    noise = jnp.where(z == schedule.mask_id, masses.mask, masses.uniform)
    likelihood = jnp.where(shown, masses.keep[..., None], 0.0) + noise[..., None]
    possible = likelihood > 0
    logits = posterior(jump, holding, z, wrong) - jnp.log(jnp.where(possible, likelihood, 1.0))
    return over_mask(jnp.where(possible, logits, -jnp.inf))


def over_mask(logits: Float[Array, "B S V"]) -> Float[Array, "B S Vm"]:
    """Logits of the digits, with -inf for the mask behind them."""
    return jnp.pad(logits, [(0, 0), (0, 0), (0, 1)], constant_values=-jnp.inf)


def distrust(
    jump: Float[Array, "B S V"], holding: Float[Array, "B S"], z: Integer[Array, "B S"], by_holding: bool
) -> Float[Array, "B S"]:
    """log probability that a cell's digit (1..n) is noise: log sigmoid(holding), or log(1 - J(z)) of the jump alone."""
    if by_holding:
        return jax.nn.log_sigmoid(holding.astype(jnp.float32))
    shown = jnp.arange(1, jump.shape[-1] + 1)[None, None] == z[..., None]
    return jax.nn.logsumexp(jnp.where(shown, -jnp.inf, jax.nn.log_softmax(jump.astype(jnp.float32))), axis=-1)
