"""One array of tokens -> what encoder and decoder see and what is asked: every objective of the study, by masks alone.

Self-reconstruction, prefix -> suffix, deletion (TSDAE), masked language modelling and another view of the text differ
in numbers only, and so do a diffusion, an autoregressive and a position-only decoder.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gidd_jax import corruption
from gidd_jax.studies.concepts_settings import Hyper
from gidd_jax.types import Mask, PRNGKey, Scalar, Tokens

LEAST_T = 1e-3
"""Where 1/t stops growing."""


class Texts(NamedTuple):
    """Sequences and their other version [B,S] (the same ones again where there is none), and which cells are text."""

    ids: Tokens
    valid: Mask
    other: Tokens
    other_valid: Mask


class Task(NamedTuple):
    """What is shown and what is asked; every field but t [B] is [B,S]."""

    seen: Tokens
    """The encoder's tokens."""
    keep: Mask
    """Those of them it may read."""
    x: Tokens
    """The clean tokens asked for."""
    z: Tokens
    """What the decoder is shown of them."""
    place: Int[Array, "B S"]
    """Positions, from 0 at the first cell asked for."""
    target: Mask
    """Cells that belong to what is decoded; attention among tokens stays within."""
    scored: Mask
    """Those among them that are masked, or all if autoregressive."""
    t: Float[Array, "B"]


def pose(key: PRNGKey, texts: Texts, hyper: Hyper, mask_id: int) -> Task:
    """Draws what is hidden; consumes ``key``.

    t ~ U(t_min, t_max) a sequence, spread evenly over the batch; a cell to decode is masked with probability t. With
    ``prefix`` a share U(split_lo, split_hi) of each text is encoded and the rest decoded, at positions of its own. The
    autoregressive decoder sees the cell before (a mask at the first) and t = 1.
    """
    time_key, split_key, cell_key = jax.random.split(key, 3)
    shape = texts.ids.shape
    deletion, masking, echo = jax.random.uniform(cell_key, (3, *shape))
    other, prefix, causal = (jnp.asarray(value) > 0 for value in (hyper.other_view, hyper.prefix, hyper.causal))
    x, present = jnp.where(other, texts.other, texts.ids), jnp.where(other, texts.other_valid, texts.valid)
    cell = jnp.broadcast_to(jnp.arange(shape[1])[None], shape)

    share = hyper.split_lo + (hyper.split_hi - hyper.split_lo) * jax.random.uniform(split_key, (shape[0], 1))
    count = texts.valid.sum(1, keepdims=True)
    start = jnp.where(prefix, jnp.clip((share * count).astype(jnp.int32), 1, jnp.maximum(count - 1, 1)), 0)
    target = present & (cell >= start)
    readable = texts.valid & ((cell < start) | ~prefix)
    kept = readable & (deletion >= hyper.delete)
    # Where all is deleted the first cell stays: a softmax over nothing is no number.
    kept |= ~kept.any(1, keepdims=True) & (cell == 0)

    u = corruption.spread(jax.random.uniform(time_key), shape[0])
    t = jnp.where(causal, 1.0, hyper.t_min + (hyper.t_max - hyper.t_min) * u)
    masked = target & (masking < t[:, None])
    before = jnp.concatenate([jnp.full_like(x[:, :1], mask_id), x[:, :-1]], axis=1)
    z = jnp.where(causal, jnp.where(cell == start, mask_id, before), jnp.where(masked, mask_id, x))
    return Task(
        seen=jnp.where(masked & (echo < hyper.encoder_noise), mask_id, texts.ids),
        keep=kept,
        x=x,
        z=z,
        place=jnp.maximum(cell - start, 0),
        target=target,
        scored=jnp.where(causal, target, masked),
        t=t,
    )


def weigh(nats: Float[Array, "B S"], task: Task, hyper: Hyper) -> Scalar:
    """sum w l / norm, w = t^-elbo at scored cells and ``visible_weight`` at the other cells to decode.

    norm = (1 - per_cell) sum w + per_cell (cells to decode). At elbo = 0 and per_cell = 0: mean cross-entropy, and the
    same for any elbo where t is constant. At elbo = 1, per_cell = 1 and t ~ U(0,1): the ELBO in nats a cell
    (arXiv 2406.07524; 2502.09992).
    """
    t = jnp.maximum(task.t, LEAST_T)[:, None]
    w = jnp.where(task.scored, t**-hyper.elbo, 0.0) + hyper.visible_weight * (task.target & ~task.scored)
    norm = (1 - hyper.per_cell) * w.sum() + hyper.per_cell * task.target.sum()
    return (w * nats).sum() / jnp.maximum(norm, 1e-6)
