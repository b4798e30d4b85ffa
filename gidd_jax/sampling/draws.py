"""From logits to probabilities of clean tokens, and from probabilities to tokens."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Integer

from gidd_jax import schedules
from gidd_jax.types import PRNGKey


def clean_probs(
    schedule: schedules.Schedule, logits: Float[ArrayLike, "B S Vm"], temperature: ArrayLike = 1.0
) -> Float[Array, "B S V"]:
    """softmax(logits / temperature) over the clean tokens: the mask has probability 0, padding columns are cut off."""
    logits = jnp.asarray(logits)[..., : schedule.vocab_size]
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32)) / temperature
    ids = jnp.arange(schedule.vocab_size).reshape((1,) * (logits.ndim - 1) + (-1,))
    return jax.nn.softmax(jnp.where(ids == schedule.mask_id, -jnp.inf, logits), axis=-1)


def draw(key: PRNGKey, probs: Float[ArrayLike, "B S V"]) -> Int[Array, "B S"]:
    """One token a cell from probabilities that need not sum to 1; consumes ``key``.

    Gumbel-max with noise that keeps its tail: an inverse CDF in float32, or the usual float32 Gumbel noise, never draws
    what has less than 6e-8, which lowers the entropy of samples and flatters their perplexity (arXiv 2409.02908).
    """
    return jax.random.categorical(key, jnp.log(jnp.asarray(probs)), axis=-1, mode="high").astype(jnp.int32)


def keys_by_step(key: PRNGKey) -> Callable[[Int[ArrayLike, ""]], PRNGKey]:
    """i -> ``fold_in(key, i)``, also inside a ``cond``: vmapped, that selects between its operands, and JAX's own check
    takes a key that is selected for one that is used. So only the key's numbers go in.
    """
    numbers, kind = jax.random.key_data(key), jax.random.key_impl(key)
    return lambda i: jax.random.fold_in(jax.random.wrap_key_data(numbers, impl=kind), i)


def drop_unlikely(probs: Float[ArrayLike, "B S V"], min_p: ArrayLike) -> Float[Array, "B S V"]:
    """Zeroes what is below ``min_p`` (traced; the likeliest token always stays) and renormalises."""
    probs = jnp.asarray(probs)
    floor = jnp.minimum(min_p, probs.max(-1, keepdims=True))
    kept = jnp.where(probs < floor, 0.0, probs)
    return kept / kept.sum(-1, keepdims=True)


def top_cells(score: Float[Array, "B S"], k: int) -> Bool[Array, "B S"]:
    """The k cells of each row with the highest score, later ones first among equals."""
    _, places = jax.lax.top_k(score[:, ::-1], k)
    rows = jnp.arange(score.shape[0])[:, None]
    return jnp.zeros(score.shape, bool).at[rows, score.shape[1] - 1 - places].set(True)


def ranks(score_BxS: Float[Array, "B S"], among_BxS: Bool[Array, "B S"]) -> Int[Array, "B S"]:
    """How many cells of `among` stand before each cell: a higher score, or an equal one and an earlier place."""
    mine, other = score_BxS[:, :, None], score_BxS[:, None, :]
    earlier_SxS = jnp.tri(score_BxS.shape[1], k=-1, dtype=bool)
    before_BxSxS = (other > mine) | ((other == mine) & earlier_SxS[None])
    return (before_BxSxS & among_BxS[:, None, :]).sum(2)


def sample_entropy(tokens: Integer[ArrayLike, "B S"], vocab_size: int) -> Float[Array, "B"]:
    """Entropy of each sample's own token frequencies, nats; to be reported beside any generative perplexity."""
    count_BxV = jax.vmap(lambda row: jnp.bincount(row, length=vocab_size))(jnp.asarray(tokens))
    share_BxV = count_BxV / count_BxV.sum(-1, keepdims=True)
    return -jax.scipy.special.xlogy(share_BxV, share_BxV).sum(-1)
