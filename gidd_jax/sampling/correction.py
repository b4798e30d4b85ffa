"""Samplers that revise tokens: the adaptive one starts from noise, self-correction from a finished sample."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Integer

from gidd_jax import schedules
from gidd_jax.sampling.draws import clean_probs, draw, drop_unlikely, keys_by_step, top_cells
from gidd_jax.sampling.gidd import Denoise, TimeGrid, by_row
from gidd_jax.types import PRNGKey


def adaptive_score(
    schedule: schedules.Schedule, probs: Float[ArrayLike, "B S V"], z: Integer[ArrayLike, "B S"]
) -> Float[Array, "B S"]:
    """(max_v probs(v) - probs(z)) pi(z), pi the noise at the noisiest time: what an update gains. arXiv 2512.10858."""
    probs, z = jnp.asarray(probs), jnp.asarray(z)
    noise = schedule.masses(schedule.time_of(1.0))
    pi_z = jnp.where(z == schedule.mask_id, noise.mask, noise.uniform) / (1 - noise.keep)
    return (probs.max(-1) - jnp.take_along_axis(probs, z[..., None], axis=-1)[..., 0]) * pi_z


def adaptive(
    key: PRNGKey,
    schedule: schedules.Schedule,
    denoise: Denoise,
    z: Integer[ArrayLike, "B S"],
    times: TimeGrid,
    top_k: int = 1,
    temperature: ArrayLike = 0.0,
    min_p: ArrayLike = 0.0,
    protected: Bool[ArrayLike, "B S"] | None = None,
) -> Int[Array, "B S"]:
    """Rewrites the ``top_k`` cells of highest ``adaptive_score`` at each of ``times`` -> tokens [B,S].

    The new token is the likeliest one at temperature 0, else a draw at that temperature (traced) after ``min_p``. A
    cell may be rewritten many times. Among equal scores later cells go first, as in the reference. ``times`` are only
    shown to the model. Consumes ``key``.
    """
    z, times_TxB = jnp.asarray(z), by_row(times, jnp.shape(z)[0])
    free = jnp.ones(z.shape, bool) if protected is None else ~jnp.asarray(protected)

    def step(z, inputs):
        i, t_B = inputs
        logits = denoise(z, t_B)
        probs = clean_probs(schedule, logits)
        warm = clean_probs(schedule, logits, jnp.where(temperature > 0, temperature, 1.0))
        drawn = draw(jax.random.fold_in(key, i), drop_unlikely(warm, min_p))
        token = jnp.where(temperature > 0, drawn, jnp.argmax(probs, -1)).astype(z.dtype)
        chosen = free & top_cells(adaptive_score(schedule, probs, z) * free, top_k)
        return jnp.where(chosen, token, z), None

    temperature = jnp.asarray(temperature)
    return jax.lax.scan(step, z, (jnp.arange(times_TxB.shape[0]), times_TxB))[0]


def correction_score(
    probs: Float[ArrayLike, "B S V"], z: Integer[ArrayLike, "B S"], proposal: Integer[ArrayLike, "B S"]
) -> Float[Array, "B S"]:
    """probs(proposal) where it differs from z, else 0: how sure the model is of the change."""
    probs, proposal = jnp.asarray(probs), jnp.asarray(proposal)
    sure = jnp.take_along_axis(probs, proposal[..., None], axis=-1)[..., 0]
    return jnp.where(proposal != jnp.asarray(z), sure, 0.0)


def revise(
    probs: Float[ArrayLike, "B S V"],
    z: Integer[ArrayLike, "B S"],
    proposal: Integer[ArrayLike, "B S"],
    top_k: int = 1,
    protected: Bool[ArrayLike, "B S"] | None = None,
) -> tuple[Int[Array, "B S"], Float[Array, "B"]]:
    """Writes the ``top_k`` surest changes of each row -> (tokens, share of cells that hold the likeliest token)."""
    probs, z, proposal = (jnp.asarray(a) for a in (probs, z, proposal))
    score = correction_score(probs, z, proposal)
    if protected is not None:
        score = jnp.where(protected, 0.0, score)
    new = jnp.where(top_cells(score, top_k) & (score > 0), proposal, z).astype(z.dtype)
    return new, (new == jnp.argmax(probs, -1)).mean(-1, dtype=probs.dtype)


def self_correct(
    key: PRNGKey,
    schedule: schedules.Schedule,
    denoise: Denoise,
    z: Integer[ArrayLike, "B S"],
    steps: int = 128,
    top_k: int = 1,
    temperature: ArrayLike = 0.1,
    patience: int = 32,
    t: ArrayLike = 0.01,
    protected: Bool[ArrayLike, "B S"] | None = None,
) -> tuple[Int[Array, "B S"], Float[Array, "B"]]:
    """Revises a finished sample -> (each row's best state, its agreement with the model); consumes ``key``.

    Every step proposes a draw of every cell at ``temperature`` and takes the ``top_k`` surest changes. A row stops when
    a step changes nothing, or after more than ``patience`` steps without a new best. ``t`` is shown to the model.
    Source: arXiv 2503.04482, sec. 4; its code returns the last state reached, not the best.
    """
    z = jnp.asarray(z)
    t_B = jnp.broadcast_to(jnp.asarray(t, jnp.float32), z.shape[:1])

    step_key = keys_by_step(key)

    def advance(state, i):
        z, best, best_share, waited, going = state
        probs = clean_probs(schedule, denoise(z, t_B), temperature)
        new, share = revise(probs, z, draw(step_key(i), probs), top_k, protected)
        better = going & (share > best_share)
        waited = jnp.where(better, 0, waited + 1)
        changed = (new != z).any(-1)
        best, best_share = jnp.where(better[:, None], new, best), jnp.where(better, share, best_share)
        return jnp.where(going[:, None], new, z), best, best_share, waited, going & changed & (waited <= patience)

    def step(state, i):
        return jax.lax.cond(state[-1].any(), advance, lambda state, _: state, state, i), None

    rows = z.shape[:1]
    start = (z, z, jnp.full(rows, -1.0), jnp.zeros(rows, jnp.int32), jnp.ones(rows, bool))
    _, best, share, _, _ = jax.lax.scan(step, start, jnp.arange(steps))[0]
    return best, share
