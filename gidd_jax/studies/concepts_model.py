"""Texts -> concepts -> logits: what training, evaluation and sampling of the concept study share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gidd_jax.models import bottleneck
from gidd_jax.studies.concepts_settings import Hyper, ModelConfig
from gidd_jax.studies.concepts_task import Task
from gidd_jax.types import Mask, PRNGKey, Tokens, Tree

AT_ONCE = 64
"""Texts encoded together where many are."""


class Seen(NamedTuple):
    """Concepts after the last norm, the layers' before it, and logits of the clean tokens."""

    concepts: Float[Array, "B C D"]
    states: Float[Array, "L B C D"]
    logits: Float[Array, "B S V"]


def shape(config: ModelConfig, data: Tree) -> bottleneck.BottleneckConfig:
    """The model's static shape."""
    return bottleneck.BottleneckConfig(
        vocab_size=data["vocabulary"].shape[0],
        length=config.length,
        d_model=config.d_model,
        concepts=config.concepts,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        heads=config.heads,
        hidden=config.hidden,
        token_dim=config.token_dim,
        dropout=config.dropout,
        slot_positions=config.slot_positions,
        dtype=config.dtype,
    )


def mask_id(data: Tree) -> int:
    """The mask, the last token."""
    return data["vocabulary"].shape[0] - 1


def switches(hyper: Hyper) -> bottleneck.Switches:
    """What of the shape a row decides."""
    return bottleneck.Switches(
        depth=hyper.depth,
        concepts=hyper.n_concepts,
        bixt=hyper.bixt,
        channel=hyper.channel,
        tokens=hyper.decoder_tokens,
        self_attention=hyper.self_attention,
        causal=hyper.causal,
        gate=hyper.gate,
    )


def slots(hyper: Hyper, config: ModelConfig) -> Array:
    """Which concepts are in use, bool [C]."""
    return jnp.arange(config.concepts) < hyper.n_concepts


def encode(
    params: Tree,
    hyper: Hyper,
    config: ModelConfig,
    data: Tree,
    ids: Tokens,
    keep: Mask,
    dropout_key: PRNGKey | None = None,
) -> tuple[Array, Array]:
    """Concepts [B,C,D] and the layers' states [L,B,C,D]."""
    return bottleneck.encode(params, shape(config, data), switches(hyper), ids, keep, dropout_key)


def decode(
    params: Tree,
    hyper: Hyper,
    config: ModelConfig,
    data: Tree,
    concepts: Array,
    task: Task,
    embedded: Array | None = None,
    dropout_key: PRNGKey | None = None,
) -> Float[Array, "B S V"]:
    """Logits at the cells of a task, of the mask too, as the source has it; ``without_mask`` where that matters."""
    return bottleneck.decode(
        params,
        shape(config, data),
        switches(hyper),
        concepts,
        task.z,
        task.place,
        task.target,
        task.t * hyper.time_scale,
        embedded,
        dropout_key,
    )


def without_mask(logits: Float[Array, "B S V"], data: Tree) -> Float[Array, "B S V"]:
    """Logits with the mask's at minus infinity: no clean token is one."""
    return jnp.where(jnp.arange(logits.shape[-1])[None, None] == mask_id(data), -jnp.inf, logits)


def see(
    params: Tree, hyper: Hyper, config: ModelConfig, data: Tree, task: Task, dropout_key: PRNGKey | None = None
) -> Seen:
    """The model once; consumes ``dropout_key``, without which nothing is dropped."""
    keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
    concepts, states = encode(params, hyper, config, data, task.seen, task.keep, keys[0])
    return Seen(concepts, states, decode(params, hyper, config, data, concepts, task, dropout_key=keys[1]))


def concepts_of(params: Tree, hyper: Hyper, config: ModelConfig, data: Tree, ids: Tokens, keep: Mask) -> Array:
    """Concepts of any number of texts [N,C,D], ``AT_ONCE`` at a time."""

    def one(row: tuple[Array, Array]) -> Array:
        return encode(params, hyper, config, data, row[0][None].astype(jnp.int32), row[1][None])[0][0]

    return jax.lax.map(one, (ids, keep), batch_size=AT_ONCE)
