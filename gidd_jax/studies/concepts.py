"""The concept study: text through a bottleneck of C concepts. Which objective makes concepts that mean something?

This module *is* the study: ``init``, ``step`` and ``evaluate`` are pure functions of one replica.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax import export, losses, train
from gidd_jax.errors import InputError
from gidd_jax.losses import concepts as regularise
from gidd_jax.losses.smoothing import smoothed_cross_entropy
from gidd_jax.models import bottleneck
from gidd_jax.studies.concepts_data import load, texts
from gidd_jax.studies.concepts_evaluation import evaluate
from gidd_jax.studies.concepts_model import Seen, mask_id, see, shape, slots
from gidd_jax.studies.concepts_settings import ALL, Config, Hyper
from gidd_jax.studies.concepts_task import Texts, pose, weigh
from gidd_jax.types import Mean, Metrics, PRNGKey, Scalar, Tree

__all__ = ["Config", "Hyper", "batch", "check", "evaluate", "init", "load", "loss", "per_step", "step"]

name = "concepts"
unit = "tokens"
splits = ("validation",)
presets = {
    size: {**shape_, "tokenizer": "bpe-32000", "length": 512, "batch": 512, "steps": 39_000}
    | {"schedule": "cosine", "warmup": 1500, "floor": 0.0, "clip": 1.0, "dtype": "bfloat16"}
    for size, shape_ in bottleneck.PRESETS.items()
}
"""The source's sizes with its schedule; its initial widths (init_std .1) and label smoothing (.1) are dials."""

TERMS = ("nearest", "tree", "koleo", "variance", "covariance", "uniformity", "orthogonality", "layers")
"""The regularisers, whose weights are the dials w_NAME: functions of ``losses.concepts``, and Seq-VCR of the layers."""


def per_step(config: Config) -> int:
    """Cells of the sequences one replica sees in a step, padding included."""
    return config.batch * config.length


def check(hypers: Hyper, config: Config, data: Tree) -> None:
    """Raises InputError, before anything compiles, for settings that contradict one another or the data."""
    shape(config, data)
    if np.any(hypers.other_view > 0) and "other" not in data:
        raise InputError(f"other_view: {config.data} has one version of each text; --data kjv-web has two")
    if np.any((hypers.other_view > 0) & ((hypers.prefix > 0) | (hypers.encoder_noise > 0))):
        raise InputError("other_view: goes neither with prefix nor with encoder_noise, which need one text")
    for dial, most in (("depth", config.encoder_layers), ("n_concepts", config.concepts)):
        if np.any((getattr(hypers, dial) > most) & (getattr(hypers, dial) < ALL)):
            setting = "--encoder-layers" if dial == "depth" else "--concepts"
            raise InputError(f"{dial} {getattr(hypers, dial).max():g}: more than there are; {setting} is {most}")
    for low, high in (("split_lo", "split_hi"), ("t_min", "t_max")):
        if np.any(getattr(hypers, low) > getattr(hypers, high)):
            raise InputError(f"{low}: must not exceed {high}")
    for switch in ("prefix", "causal", "other_view", "kendall_gal"):
        if np.any(~np.isin(getattr(hypers, switch), (0, 1))):
            raise InputError(f"{switch}: is 0 or 1")


def init(key: PRNGKey, hyper: Hyper, config: Config, data: Tree) -> train.TrainState:
    """Fresh parameters, or those of ``init_from``; ``log_variance`` holds what Kendall-Gal learns, task first."""
    fresh = bottleneck.init(key, shape(config, data), hyper.init_std)
    fresh["log_variance"] = {name: jnp.zeros(()) for name in ("task", *TERMS)}
    return train.start(export.adopt(data["params"], fresh) if "params" in data else fresh, config)


def batch(key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array) -> Texts:
    """Training sequences, with replacement."""
    return texts(data, jax.random.randint(key, (config.batch,), 0, data["count"][0]))


def loss(
    params: Tree, drawn: Texts, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array
) -> tuple[Scalar, Metrics]:
    """The task's smoothed cross-entropy, weighed as ``weigh`` says, plus the regularisers of the concepts, in nats.

    Weights rise over ``reg_warmup`` steps from step ``reg_start``. With ``kendall_gal`` each term L in use counts
    exp(-s) L / 2 + s / 2 instead, s learned, the task too (arXiv 1705.07115).
    """
    # The task's own key, whole, where nothing is dropped: rows stay what they were before there was dropout.
    task_key, dropout_key = jax.random.split(key) if config.dropout else (key, None)
    task = pose(task_key, drawn, hyper, mask_id(data))
    seen = see(params, hyper, config, data, task, dropout_key)
    nats, smoothed = smoothed_cross_entropy(seen.logits, task.x, hyper.smoothing)
    objective = weigh(smoothed, task, hyper)
    terms = regularisers(seen, hyper, config)
    given = {name: getattr(hyper, f"w_{name}") for name in TERMS}
    since = i - hyper.reg_start
    rise = jnp.where(since < 0, 0.0, regularise.warm(jnp.maximum(since, 0), hyper.reg_warmup))
    # A term out of use counts nothing either way: its s would fall without end.
    learned = {name: jnp.where(given.get(name, 1.0) > 0, s, 0.0) for name, s in params["log_variance"].items()}
    in_use = {name: jnp.where(given[name] > 0, term, 0.0) for name, term in terms.items()}
    fixed = regularise.weighted(objective, terms, {name: rise * weight for name, weight in given.items()})
    total = jnp.where(hyper.kendall_gal > 0, regularise.uncertain(objective, in_use, learned), fixed)
    cells = task.scored.sum()
    metrics = {
        "objective": objective,
        "nats": Mean(jnp.where(task.scored, nats, 0.0).sum(), cells),
        "nats/t": losses.by_time(nats, task.scored, task.t),
        "regularisers": fixed - objective,
    }
    return total, metrics


def regularisers(seen: Seen, hyper: Hyper, config: Config) -> dict[str, Scalar]:
    """Every term of ``TERMS``, whatever its weight: their cost beside the model's is small (C^2 a text)."""
    used = slots(hyper, config)
    on = jnp.clip(hyper.depth - jnp.arange(config.encoder_layers), 0.0, 1.0)
    found = {name: regularise.REGULARISERS[name](seen.concepts, used) for name in TERMS[:-1]}
    return found | {"layers": regularise.seq_vcr(seen.states, on, used)}


step = train.gradient_step(batch, loss)
