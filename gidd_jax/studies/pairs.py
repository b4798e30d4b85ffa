"""Human similarity by fine-tuning: a trained model of the concepts learns to score pairs of texts.

Both texts are encoded together, a mask between them, and a linear head reads the score from the concepts; which head
is a dial, so that all heads and seeds are rows of one call, beside rows that start from an untrained model. The
protocol of github.com/ksopyla/MrCogito (pair in one sequence; first concept, weighted pool, pool of the decoder's
states), there at learning rate 1e-5, 96 pairs a step, 20 epochs.

This module *is* the study: ``init``, ``step`` and ``evaluate`` are pure functions of one replica.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gidd_jax import export, geometry, train
from gidd_jax.errors import InputError
from gidd_jax.models import bottleneck
from gidd_jax.studies.concepts_data import inside
from gidd_jax.studies.concepts_evaluation import similarity
from gidd_jax.studies.concepts_model import AT_ONCE, mask_id, shape, slots, switches
from gidd_jax.studies.concepts_settings import ModelConfig
from gidd_jax.studies.pairs_data import load
from gidd_jax.studies.pairs_settings import HEADS, MODEL, Config, Hyper
from gidd_jax.types import Metrics, PRNGKey, Scalar, Tokens, Tree

__all__ = ["HEADS", "Config", "Hyper", "batch", "check", "evaluate", "init", "load", "loss", "per_step", "step"]

name = "pairs"
unit = "pairs"
splits = ("validation",)


def per_step(config: Config) -> int:
    """Pairs one replica sees in a step."""
    return config.batch


def config_of(made: ModelConfig, **settings: Any) -> Config:
    """The Config on the text and model of ``made``, a row of the concept study; how it was trained is left behind."""
    return Config(**{field: getattr(made, field) for field in MODEL} | settings)


def check(hypers: Hyper, config: Config, data: Tree) -> None:
    """Raises InputError for settings that contradict the data."""
    shape(config, data)
    for switch in ("warm", "tune"):
        if np.any(~np.isin(getattr(hypers, switch), (0, 1))):
            raise InputError(f"{switch}: is 0 or 1")


def init(key: PRNGKey, hyper: Hyper, config: Config, data: Tree) -> train.TrainState:
    """The trained model (``warm``) or an untrained one, its concepts averaged evenly, and a small random head."""
    model_key, head_key = jax.random.split(key)
    fresh = bottleneck.init(model_key, shape(config, data), data["row"].init_std)
    given = export.adopt(data["params"], fresh)
    weight = 0.1 * jax.random.normal(head_key, (config.d_model,)) / config.d_model**0.5
    params = {
        "model": jax.tree.map(lambda old, new: jnp.where(hyper.warm > 0, old, new), given, fresh),
        "head": {"pool": jnp.zeros(config.d_model), "weight": weight, "bias": jnp.zeros(())},
    }
    return train.start(params, config)


def batch(
    key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array
) -> tuple[Tokens, Array, Float[Array, "B"]]:
    """Training pairs, with replacement: tokens, which cells are text, scores."""
    rows = jax.random.randint(key, (config.batch,), 0, data["count"][0])
    ids = data["ids"][rows]
    return ids, inside(ids, data["lengths"][rows]), data["score"][rows]


def predict(
    params: Tree,
    hyper: Hyper,
    config: Config,
    data: Tree,
    ids: Tokens,
    keep: Array,
    dropout_key: PRNGKey | None = None,
) -> Float[Array, "B"]:
    """Standardised scores, w f + b, of f = concept 1, sum_c softmax_c(p z_c) z_c, or the mean of decoder states.

    The decoder is shown masks alone at t = 1, so that all it tells has come through the concepts. Consumes
    ``dropout_key``.
    """
    row, model, head = data["row"], shape(config, data), params["head"]
    keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
    z, _ = bottleneck.encode(params["model"], model, switches(row), ids, keep, keys[0])
    weight = jax.nn.softmax(jnp.where(slots(row, config)[None], z @ head["pool"], -jnp.inf), axis=1)
    place = jnp.broadcast_to(jnp.arange(ids.shape[1])[None], ids.shape)
    masks, t = jnp.full_like(ids, mask_id(data)), row.time_scale * jnp.ones(len(ids))
    told = bottleneck.features(params["model"], model, switches(row), z, masks, place, keep, t, keys[1])
    share = keep / keep.sum(1, keepdims=True)
    several = jnp.stack([z[:, 0], (weight[..., None] * z).sum(1), (share[..., None] * told).sum(1)])
    return several[hyper.head] @ head["weight"] + head["bias"]


def loss(
    params: Tree, drawn: tuple, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array
) -> tuple[Scalar, Metrics]:
    """Mean squared error, in variances of the training scores: the mean of them all has 1."""
    ids, keep, score = drawn
    found = predict(params, hyper, config, data, ids, keep, key if config.dropout else None)
    error = jnp.mean((found - score) ** 2)
    return error, {"error": error}


def _trains(params: Tree, hyper: Hyper, config: Config, i: jax.Array) -> Tree:
    free = {"model": jnp.asarray(hyper.tune) > 0, "head": jnp.ones((), bool)}
    return {part: jax.tree.map(lambda _, on=free[part]: on, params[part]) for part in params}


step = train.gradient_step(batch, loss, _trains)


def evaluate(
    state: train.TrainState, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, split: jax.Array
) -> tuple[Metrics, Tree]:
    """Of the held-out pairs: pearson and spearman of predicted and human scores; error; cut, the share cut short.

    Beside them what needs no fine-tuning: similarity (Pearson) and similarity_rank (Spearman) of the cosines of mean
    concepts, each text encoded by itself, and what counts of words have (similarity_tf_idf, ...).
    """
    params = train.evaluated(state, config)
    rows = data["first"][1] + jnp.arange(data["held_out"].shape[0])
    ids, score = data["ids"][rows], data["score"][rows]

    def one(pair: tuple[Array, Array]) -> Array:
        return predict(params, hyper, config, data, pair[0][None], pair[1][None])[0]

    found = jax.lax.map(one, (ids, inside(ids, data["lengths"][rows])), batch_size=AT_ONCE)
    told = {
        "pearson": geometry.pearson(found, score),
        "spearman": geometry.spearman(found, geometry.ranks(score)),
        "error": jnp.mean((found - score) ** 2),
        "cut": data["cut"],
    }
    return told | similarity(params["model"], data["row"], config, data), {}
