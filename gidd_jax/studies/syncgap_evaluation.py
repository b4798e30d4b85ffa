"""What a row is worth: its noise error on held-out images; after training, its pairs by the step of their parting."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gidd_jax import train
from gidd_jax.models import encoder
from gidd_jax.sampling import replicas
from gidd_jax.studies.syncgap_model import (
    alike,
    centred_features,
    noise_error,
    pair_denoise,
    strangers,
    watched_denoise,
)
from gidd_jax.studies.syncgap_settings import Config, Hyper
from gidd_jax.types import Mean, Metrics, PRNGKey, Tree


def evaluate(
    state: train.TrainState, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, split: jax.Array
) -> tuple[Metrics, Tree]:
    """Held-out noise error and encoder accuracy; in the split "pairs" the protocols instead, once, at the row's g.

    By step of parting (bin j: after j (S / (forks - 1)) steps), medians over pairs: feature_cosine, coarse and fine
    discrepancy; control_*: no coupling, but the same noise until then; stranger_*: replicas of different seeds. By
    layer: cosine_gap, the energy that fine cosine modes of the difference kept to the last step over what coarse ones
    kept (1: alike), without noise. No arrays. Consumes ``key``.
    """
    params = train.evaluated(state, config)
    of_images, of_pairs = jax.random.split(key)
    found = (
        lambda: held_out(of_images, params, config, data),
        lambda: protocols(of_pairs, params, hyper, config, data),
    )
    # Not both: the pairs cost a hundred times the images, and the split is the same for all rows.
    return jax.lax.switch(split, [lambda: _only(*found), lambda: _only(*found[::-1])]), {}


def held_out(key: PRNGKey, params: Tree, config: Config, data: Tree) -> Metrics:
    """noise_error: a mean over pixels, steps and held-out images; encoder_accuracy: of their classes."""
    pick, noise = jax.random.split(key)
    chosen = jax.random.randint(pick, (config.eval_images,), 0, len(data["validation"]))
    x, label = data["validation"][chosen], data["validation_label"][chosen]
    shape = config.shape(len(data["classes"]), "float32")
    error = noise_error(noise, params["dit"], shape, x, label)
    right = encoder.logits(params["encoder"], data["validation"]).argmax(-1) == data["validation_label"]
    return {
        "noise_error": Mean(error.sum(), jnp.float32(len(x))),
        "encoder_accuracy": Mean(right.sum().astype(jnp.float32), jnp.float32(len(right))),
    }


def protocols(key: PRNGKey, params: Tree, hyper: Hyper, config: Config, data: Tree) -> Metrics:
    """Both protocols at the row's g and sigma."""
    start_key, noise_key = jax.random.split(key)
    classes = len(data["classes"])
    shape = config.shape(classes, "float32")
    label = int(config.kind) if config.kind else classes
    image = (config.pairs, config.channels, config.size, config.size)
    first = replicas.start(start_key, image, hyper.sigma)
    path = replicas.path(str(config.sample_steps))
    made = replicas.forked(
        noise_key, pair_denoise(params["dit"], shape, label), first, path, rows(hyper.g, config), hyper.eta
    )
    look = centred_features(params["encoder"], data)
    found = {}
    for which, (one, other) in {"": (made[:, 0], made[:, 1]), "stranger_": strangers(made)}.items():
        same = alike(look, one, other, config.pool)
        coupled, control = (jax.tree.map(lambda x, i=i: jnp.median(_halves(x)[i], axis=-1), same) for i in (0, 1))
        found |= {f"{which}{name}/fork": value for name, value in coupled._asdict().items()}
        if not which:
            found |= {f"control_{name}/fork": value for name, value in control._asdict().items()}
    seen = replicas.watched(watched_denoise(params["dit"], shape, label, hyper.g), first, path)
    kept = seen.bands[-1].sum(-1) / seen.bands[0].sum(-1)  # [L, 2]
    return found | {"cosine_gap/layer": kept[:, 1] / kept[:, 0]}


def rows(g: jax.Array, config: Config) -> replicas.Branches:
    """Coupled by g until each intervention time, then as many controls: no coupling, the same noise until then."""
    until = jnp.round(jnp.linspace(0, config.sample_steps, config.forks)).astype(jnp.int32)
    coupled = replicas.branches(until, g, config.noise == "shared")
    control = replicas.branches(until, 0.0, True)
    return jax.tree.map(lambda *pair: jnp.concatenate(pair), coupled, control)


def _halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return tuple(jnp.split(x, 2))


def _only(wanted: Callable[[], Metrics], other: Callable[[], Metrics]) -> Metrics:
    """The metrics wanted, and nothing counted of the others."""
    counted = {name: x if isinstance(x, Mean) else Mean(x, jnp.ones_like(x)) for name, x in wanted().items()}
    shapes = jax.eval_shape(other)
    return counted | {name: _nothing(x.total if isinstance(x, Mean) else x) for name, x in shapes.items()}


def _nothing(shape: jax.ShapeDtypeStruct) -> Mean:
    return Mean(jnp.zeros(shape.shape), jnp.zeros(shape.shape))
