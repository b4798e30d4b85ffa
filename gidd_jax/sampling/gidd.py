"""Ancestral sampling: q(z_s | z_t) in closed form, drawn step by step in one scan. arXiv 2503.04482, 2512.10858."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Integer

from gidd_jax import schedules
from gidd_jax.sampling.draws import clean_probs, draw, drop_unlikely
from gidd_jax.types import PRNGKey

Denoise = Callable[[Int[Array, "B S"], Float[Array, "B"]], Float[Array, "B S V"]]
"""Noised tokens and each sequence's time -> logits of the clean tokens, of width V or more."""

TimeGrid = Float[ArrayLike, "T"] | Float[ArrayLike, "T B"]
"""Times of a reverse process, noisy to clean, the same for all sequences or each their own."""


def reverse_probs(
    schedule: schedules.Schedule,
    probs: Float[ArrayLike, "B S V"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
    s: ArrayLike,
) -> Float[Array, "B S V"]:
    """q(z_s = v | z_t = z) under a belief ``probs`` about the clean token, [B,S,V]; s is cleaner than t, sums to 1.

    q = (a [v=z] + b(z)) (alpha_s probs(v) + (beta pi)_s(v)) / (alpha_t probs(z) + (beta pi)_t(z)) with
    a = alpha_t / alpha_s and b = (beta pi)_t - a (beta pi)_s. The formula weighs z itself, so the belief that makes it
    exact, and the one that minimises the ELBO, is P(x_i | all other cells), not P(x_i | all cells). A z that is
    impossible under ``probs`` stays. Times: scalar, [B] or [B,S].

    >>> schedule = schedules.linear(vocab_size=3, mask_id=2)
    >>> belief = jnp.array([[[0.75, 0.25, 0.0]]])
    >>> sampling.reverse_probs(schedule, belief, jnp.array([[2]]), t=1.0, s=0.5).tolist()  # half of the masks go
    [[[0.375, 0.125, 0.5]]]
    """
    masses = (schedule.masses(schedules.over_cells(time)) for time in (t, s))
    return _reverse(schedule, jnp.asarray(probs), jnp.asarray(z), *masses)


def time_grid(schedule: schedules.Schedule, steps: int, reference_compat: bool = False) -> Float[Array, "T"]:
    """The times at which a reverse process of ``steps`` steps runs its model, noisy to clean.

    Even in t for (0,1); for log-SNR even in the angle of alpha = sin^2, from min_log_snr. ``reference_compat`` gives
    the grid of the authors' loop: it skips the noisiest time and runs the model at the cleanest, with nothing to do.
    """
    share = (jnp.arange(steps) + reference_compat) / steps
    if isinstance(schedule, schedules.LogSnr):
        angle = jnp.pi / 2 * share
        return jnp.clip(2 * jnp.log(jnp.tan(angle)), schedule.min_log_snr, schedule.max_log_snr)
    return schedule.time_of(1 - share)


def ancestral(
    key: PRNGKey,
    schedule: schedules.Schedule,
    denoise: Denoise,
    z: Integer[ArrayLike, "B S"],
    times: TimeGrid,
    protected: Bool[ArrayLike, "B S"] | None = None,
    temperature: ArrayLike = 1.0,
    min_p: ArrayLike = 0.0,
    reference_compat: bool = False,
) -> Int[Array, "B S"]:
    """z at ``times[0]`` -> clean tokens [B,S], one model call at each of ``times`` (see ``time_grid``).

    Start from ``corruption.prior`` with the prompt's tokens put in; ``protected`` cells never change. The last step
    draws clean tokens. ``temperature`` divides the logits; probabilities of a step below ``min_p`` are dropped.
    ``reference_compat``: the last step is the identity, as in the authors' loop, which leaves 1e-4 of the noise in
    place and with one step returns its start; with ``time_grid(..., reference_compat=True)`` it is that loop. Consumes
    ``key``.
    """

    def drawn(i, probs):
        return draw(jax.random.fold_in(key, i), probs)

    steps = jnp.arange(jnp.shape(times)[0])
    return reverse_scan(drawn, steps, schedule, denoise, z, times, protected, temperature, min_p, reference_compat)[0]


def reverse_scan(
    draw_tokens: Callable[[Any, Float[Array, "B S V"]], Int[Array, "B S"]],
    randomness: Any,
    schedule: schedules.Schedule,
    denoise: Denoise,
    z: Integer[ArrayLike, "B S"],
    times: TimeGrid,
    protected: Bool[ArrayLike, "B S"] | None = None,
    temperature: ArrayLike = 1.0,
    min_p: ArrayLike = 0.0,
    reference_compat: bool = False,
) -> tuple[Int[Array, "B S"], Int[Array, "T B S"]]:
    """``ancestral`` with the caller's own draw, fed ``randomness[i]`` at step i -> (tokens, each step's input)."""
    z, times_TxB = jnp.asarray(z), by_row(times, jnp.shape(z)[0])
    masses = schedule.masses(times_TxB[..., None])

    def onward(mass: Float[Array, "T B one"], clean: float) -> Float[Array, "T B one"]:
        end = mass[-1:] if reference_compat else jnp.full_like(mass[-1:], clean)
        return jnp.concatenate([mass[1:], end])

    cleaner = jax.tree.map(onward, masses, schedules.Masses(1.0, 0.0, 0.0))

    def step(z, inputs):
        random, t_B, now, then = inputs
        probs = clean_probs(schedule, denoise(z, t_B), temperature)
        new = draw_tokens(random, drop_unlikely(_reverse(schedule, probs, z, now, then), min_p)).astype(z.dtype)
        return new if protected is None else jnp.where(protected, z, new), z

    return jax.lax.scan(step, z, (randomness, times_TxB, masses, cleaner))


def by_row(times: TimeGrid, rows: int) -> Float[Array, "T B"]:
    """The times of every sequence."""
    times = jnp.asarray(times)
    return jnp.broadcast_to(times if times.ndim == 2 else times[:, None], (times.shape[0], rows))


def _reverse(schedule, probs, z, now: schedules.Masses, then: schedules.Masses) -> Float[Array, "B S V"]:
    is_mask, is_z = z == schedule.mask_id, jnp.arange(probs.shape[-1])[None, None] == z[..., None]
    stay = jnp.where(then.keep > 0, now.keep / jnp.where(then.keep > 0, then.keep, 1.0), 0.0)
    # Rounding can take a difference of equal masses below 0.
    came = jnp.maximum(jnp.where(is_mask, now.mask - stay * then.mask, now.uniform - stay * then.uniform), 0.0)
    target = then.keep[..., None] * probs + schedules.over_vocab(schedule, then.mask, then.uniform)
    belief = jnp.take_along_axis(probs, z[..., None], axis=-1)[..., 0]
    evidence = now.keep * belief + jnp.where(is_mask, now.mask, now.uniform)
    possible = (evidence > 0)[..., None]
    q = (jnp.where(is_z, stay[..., None], 0.0) + came[..., None]) * target
    return jnp.where(possible, q / jnp.where(possible, evidence[..., None], 1.0), is_z)
