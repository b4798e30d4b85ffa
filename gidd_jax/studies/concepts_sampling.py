"""Text from concepts: reconstruct what was encoded, or go on from it, by diffusion or one token after another."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from gidd_jax.sampling.draws import keys_by_step, ranks
from gidd_jax.studies.concepts_model import decode, encode, mask_id, without_mask
from gidd_jax.studies.concepts_settings import Config, Hyper
from gidd_jax.studies.concepts_task import Task
from gidd_jax.types import Mask, PRNGKey, Tokens, Tree


def write(
    key: PRNGKey,
    params: Tree,
    hyper: Hyper,
    config: Config,
    data: Tree,
    ids: Tokens,
    valid: Mask,
    count: Int[Array, "B"],
    steps: int,
    temperature: float = 1.0,
) -> Tokens:
    """``count`` tokens from the concepts of each text, [B,S]; cells past them hold the mask. Consumes ``key``.

    A diffusion decoder starts from masks alone and reveals, in ``steps`` calls, the cells it is surest of, at an even
    pace; t is the share still masked. An autoregressive one writes a cell a call. temperature 0: the likeliest token.
    """
    concepts, _ = encode(params, hyper, config, data, ids, valid)
    mask, length = mask_id(data), ids.shape[1]
    step_key = keys_by_step(key)
    cell = jnp.broadcast_to(jnp.arange(length)[None], ids.shape)
    wanted = cell < count[:, None]

    def logits(z: Tokens, shown: Tokens, t: Array) -> Array:
        task = Task(ids, valid, z, shown, cell, wanted, wanted, t)
        return without_mask(decode(params, hyper, config, data, concepts, task), data)

    def chosen(i: Array, guess: Array) -> tuple[Array, Array]:
        log_p = jax.nn.log_softmax(guess)
        noise = jax.random.gumbel(step_key(i), guess.shape, mode="high") * temperature
        token = jnp.argmax(guess + noise, axis=-1)
        return token, jnp.take_along_axis(log_p, token[..., None], -1)[..., 0]

    def reveal(z: Tokens, i: Array) -> tuple[Tokens, None]:
        masked = wanted & (z == mask)
        share = masked.sum(1) / jnp.maximum(count, 1)
        token, sure = chosen(i, logits(z, z, share))
        rank = ranks(sure, masked)
        left = jnp.ceil(count * (1 - (i + 1) / steps)).astype(jnp.int32)
        return jnp.where(masked & (rank < (masked.sum(1) - left)[:, None]), token, z), None

    def append(z: Tokens, i: Array) -> tuple[Tokens, None]:
        shown = jnp.concatenate([jnp.full_like(z[:, :1], mask), z[:, :-1]], axis=1)
        token, _ = chosen(i, logits(z, shown, jnp.ones(len(z))))
        return jnp.where(wanted & (cell == i), token, z), None

    start = jnp.full(ids.shape, mask, jnp.int32)
    diffused = lambda: jax.lax.scan(reveal, start, jnp.arange(steps))[0]  # noqa: E731
    spelled = lambda: jax.lax.scan(append, start, jnp.arange(length))[0]  # noqa: E731
    return jax.lax.cond(jnp.asarray(hyper.causal) > 0, spelled, diffused)
