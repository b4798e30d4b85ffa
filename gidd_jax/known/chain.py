"""What can be inferred about the tokens of a known source from noisy ones: forward and backward messages, exact.

Evidence is l[B,S,V], the likelihood of what is seen at a cell for each token it may hold: 1 for all tokens where
nothing is seen, one-hot where the token itself is, q_t(z|v) where it was noised. Messages are in logs, so products of
thousands of small factors lose nothing; only a state e^-87 times (in float32) as likely as the likeliest is taken for
impossible. Source: Rabiner, Proc. IEEE 77 (1989) 257, eqs. 19-27.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from gidd_jax import schedules
from gidd_jax.errors import InputError
from gidd_jax.known.source import Source

HIGHEST = jax.lax.Precision.HIGHEST
"""Sums of probabilities, not matmuls of a network: an accelerator's short product would be the only error here."""


@jax.jit
def log_likelihood(source: Source, x: Integer[ArrayLike, "B S"], mask_id: ArrayLike = -1) -> Float[Array, "B"]:
    """log P(x) in nats, [B]; cells that show ``mask_id`` are summed over. An impossible x has -inf."""
    return _evidence_likelihood(source, _shown(source, x, mask_id))


@jax.jit
def log_marginal(
    source: Source, schedule: schedules.Schedule, z: Integer[ArrayLike, "B S"], t: ArrayLike
) -> Float[Array, "B"]:
    """log q_t(z) = log sum_x P(x) prod_i q_t(z_i|x_i) of noised tokens in nats, [B]; t scalar, [B] or [B,S]."""
    return _evidence_likelihood(source, noise_likelihood(source, schedule, z, t))


@jax.jit
def posterior(source: Source, z: Integer[ArrayLike, "B S"], mask_id: ArrayLike) -> Float[Array, "B S V"]:
    """P(x_i | all visible tokens), [B,S,V] over the tokens of the source; one-hot at visible cells.

    The best masked denoiser there is: no model has a lower cross-entropy at the masked cells. NaN where the visible
    tokens are impossible.
    """
    shown = _shown(source, z, mask_id)
    return _normalised(_cavity(source, shown) * shown)


@jax.jit
def denoise(
    source: Source, schedule: schedules.Schedule, z: Integer[ArrayLike, "B S"], t: ArrayLike
) -> Float[Array, "B S V"]:
    """P(x_i | z), z_i itself counted, [B,S,V] over the tokens of the *schedule*; t scalar, [B] or [B,S].

    The best guess of the clean token: no model has a lower cross-entropy, or is right more often. Not what the ELBO
    asks for (see ``cavity``), but where z_i is the mask the two are the same.
    """
    seen = noise_likelihood(source, schedule, z, t)
    return _widened(schedule, _normalised(_cavity(source, seen) * seen))


@jax.jit
def cavity(
    source: Source, schedule: schedules.Schedule, z: Integer[ArrayLike, "B S"], t: ArrayLike
) -> Float[Array, "B S V"]:
    """P(x_i | z_j, j != i), the cell's own z_i left out, [B,S,V] over the tokens of the *schedule*.

    What minimises the GIDD ELBO, and the belief that makes ``sampling.reverse_probs`` exact: both weigh z_i themselves.
    With it the ELBO is tight (see ``elbo_floor``).
    """
    return _widened(schedule, _cavity(source, noise_likelihood(source, schedule, z, t)))


def noise_likelihood(
    source: Source, schedule: schedules.Schedule, z: Integer[ArrayLike, "B S"], t: ArrayLike
) -> Float[Array, "B S V"]:
    """q_t(z_i | x_i = v) for every token v of the source, [B,S,V]. InputError if the schedule's mask is one of them."""
    if schedule.mask_id < source.vocab or schedule.vocab_size <= source.vocab:
        raise InputError(
            f"mask_id {schedule.mask_id} of {schedule.vocab_size} tokens: the {source.vocab} tokens of the source "
            f"come first, so the mask must be {source.vocab} or more, and the vocabulary larger than that"
        )
    z = jnp.asarray(z)
    keep, noise = schedules.alpha(schedule, schedules.over_cells(t)), schedules.mass_at(schedule, t, z)
    return keep[..., None] * jax.nn.one_hot(z, source.vocab) + noise[..., None]


def _shown(source: Source, z: Integer[ArrayLike, "B S"], mask_id: ArrayLike) -> Float[Array, "B S V"]:
    z = jnp.asarray(z)
    return jnp.where((z == mask_id)[..., None], 1.0, jax.nn.one_hot(z, source.vocab))


def _cavity(source: Source, evidence: Float[Array, "B S V"]) -> Float[Array, "B S V"]:
    """P(x_i = v | evidence at all other cells)."""
    before, after = _forward(source, evidence)[0], _backward(source, evidence)
    state = jax.nn.softmax(before + after, axis=-1)
    return jnp.matmul(state, source.emission, precision=HIGHEST)


def _evidence_likelihood(source: Source, evidence: Float[Array, "B S V"]) -> Float[Array, "B"]:
    return jax.nn.logsumexp(_forward(source, evidence)[1], axis=-1)


def _forward(source: Source, evidence: Float[Array, "B S V"]) -> tuple[Float[Array, "B S Z"], Float[Array, "B Z"]]:
    """log P(evidence before i, state_i) of every cell, and log P(all evidence, last state)."""
    emitted = _emitted(source, evidence)

    def step(here, own):
        return _summed(here + own, source.transition), (here, here + own)

    first = jnp.broadcast_to(jnp.log(source.initial), emitted.shape[1:])
    _, (before, after) = jax.lax.scan(step, first, emitted)
    return before.swapaxes(0, 1), after[-1]


def _backward(source: Source, evidence: Float[Array, "B S V"]) -> Float[Array, "B S Z"]:
    """log P(evidence after i | state_i) of every cell."""
    emitted = _emitted(source, evidence)

    def step(here, own):
        return _summed(here + own, source.transition.T), here

    _, after = jax.lax.scan(step, jnp.zeros_like(emitted[0]), emitted, reverse=True)
    return after.swapaxes(0, 1)


def _summed(log_p: Float[Array, "B Z"], transition: Float[Array, "Z Z"]) -> Float[Array, "B Z"]:
    """log(e^log_p T), as one product with the largest factor taken out."""
    top = log_p.max(-1, keepdims=True)
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    return jnp.log(jnp.matmul(jnp.exp(log_p - top), transition, precision=HIGHEST)) + top


def _emitted(source: Source, evidence: Float[Array, "B S V"]) -> Float[Array, "S B Z"]:
    """log P(evidence_i | state), cells first."""
    return jnp.log(jnp.einsum("bsv,zv->sbz", evidence, source.emission, precision=HIGHEST))


def _normalised(mass: Float[Array, "B S V"]) -> Float[Array, "B S V"]:
    return mass / mass.sum(-1, keepdims=True)


def _widened(schedule: schedules.Schedule, probs: Float[Array, "B S V"]) -> Float[Array, "B S W"]:
    """0 on the tokens of the schedule that the source has not: mask and padding."""
    return jnp.pad(probs, ((0, 0), (0, 0), (0, schedule.vocab_size - probs.shape[-1])))
