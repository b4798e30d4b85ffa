"""The study of the synchronisation gap: an image DiT is trained, then pairs are sampled from it and watched.

Source: synchronization_gap_paper, arXiv 2603.20987. This module *is* the study: ``init``, ``step`` and ``evaluate`` are
pure functions of one replica (a row). Training knows nothing of the coupling g: rows that differ in g alone are the
same model measured otherwise.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax import export, train
from gidd_jax.data import images
from gidd_jax.errors import InputError
from gidd_jax.kernels import Shape
from gidd_jax.models import dit_image, encoder
from gidd_jax.studies.syncgap_evaluation import evaluate
from gidd_jax.studies.syncgap_model import noise_error
from gidd_jax.studies.syncgap_settings import Config, Hyper
from gidd_jax.types import Metrics, PRNGKey, Scalar, Tree

__all__ = ["Config", "Hyper", "batch", "check", "evaluate", "init", "load", "loss", "per_step", "step"]

name = "syncgap"
unit = "images"
splits = ("validation", "pairs")
presets = {
    "tiny": {"steps": 2400, "schedule": "cosine", "warmup": 50, "average": 0.99},
    "full": {
        **{"data": "synthetic", "size": 32, "steps": 20_000, "batch": 256, "schedule": "cosine", "warmup": 500},
        **{"average": 0.999, "dtype": "bfloat16", "sample_steps": 100, "forks": 21, "pairs": 32, "eval_images": 512},
        **dit_image.PRESETS["S"],
    },
}


def per_step(config: Config) -> int:
    """Images one replica sees in a step."""
    return config.batch


def load(config: Config) -> tuple[Tree, str]:
    """Pixels and classes of both parts. ``classes`` is empty: its length is their number, which shapes the model."""
    found = images.load(
        config.data,
        size=config.size,
        column=config.column,
        label=config.label,
        split=config.data_split,
        subset=config.subset or None,
        channels=config.channels,
        limit=config.limit or None,
    )
    data = {"classes": np.zeros((found.classes, 0), np.uint8)}
    for part in ("train", "validation"):
        data[part], data[f"{part}_label"] = getattr(found, part)
    fingerprint = found.fingerprint
    if config.init_from:
        data["params"], digest = export.read_params(config.init_from)
        fingerprint += f"-{digest}"
    return data, fingerprint


def attention_shape(config: Config, data: Tree) -> Shape:
    """Of a training step, for the race of kernels."""
    return Shape(config.batch, config.heads, (config.size // config.patch) ** 2, config.d_model // config.heads)


def check(hypers: Hyper, config: Config, data: Tree) -> None:
    """Raises InputError, before anything compiles, for a class that is not there or a model that cannot be."""
    classes = len(data["classes"])
    config.shape(classes, config.dtype)
    if config.kind and int(config.kind) >= classes:
        raise InputError(f"--kind {config.kind}: the classes are 0 to {classes - 1}")


def init(key: PRNGKey, hyper: Hyper, config: Config, data: Tree) -> train.TrainState:
    """Fresh parameters of the diffusion model ("dit") and of the feature encoder, or those of ``init_from``."""
    model_key, encoder_key = jax.random.split(key)
    classes = len(data["classes"])
    shape = encoder.EncoderConfig(config.channels * config.size**2, classes)
    fresh = {
        "dit": dit_image.init(model_key, config.shape(classes, config.dtype)),
        "encoder": encoder.init(encoder_key, shape),
    }
    return train.start(export.adopt(data["params"], fresh) if "params" in data else fresh, config)


def batch(key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Training images [B,C,Y,X] and their classes [B], drawn with replacement."""
    chosen = jax.random.randint(key, (config.batch,), 0, len(data["train"]))
    return data["train"][chosen], data["train_label"][chosen]


def loss(
    params: Tree,
    drawn: tuple[jax.Array, jax.Array],
    key: PRNGKey,
    hyper: Hyper,
    config: Config,
    data: Tree,
    i: jax.Array,
) -> tuple[Scalar, Metrics]:
    """Mean squared error of the noise, plus the encoder's cross entropy in nats on clean images; they share nothing."""
    x, label = drawn
    classes = len(data["classes"])
    drop_key, noise_key = jax.random.split(key)
    shown = jnp.where(jax.random.uniform(drop_key, label.shape) < config.drop_class, classes, label)
    error = noise_error(noise_key, params["dit"], config.shape(classes, config.dtype), x, shown).mean()
    entropy = -jnp.take_along_axis(jax.nn.log_softmax(encoder.logits(params["encoder"], x)), label[:, None], 1).mean()
    return error + entropy, {"noise_error": error, "encoder_loss": entropy}


step = train.gradient_step(batch, loss)
