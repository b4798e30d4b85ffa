"""What a replica's concepts are worth: what the decoder does with them, where they lie, whether they mean a text."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from gidd_jax import geometry, losses, train
from gidd_jax.losses.smoothing import smoothed_cross_entropy, smoothing_floor
from gidd_jax.studies.concepts_data import held_out, inside, texts
from gidd_jax.studies.concepts_model import concepts_of, decode, encode, mask_id, slots, without_mask
from gidd_jax.studies.concepts_settings import Config, Hyper, ModelConfig
from gidd_jax.studies.concepts_task import Task, Texts, pose, weigh
from gidd_jax.types import Mean, Metrics, PRNGKey, Tree

PENALTY = 0.1
"""Of the ridge probe, beside a variance of 1 a feature."""
LEAKING = 8
"""Sequences by which a leak is told."""


def evaluate(
    state: train.TrainState, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, split: jax.Array
) -> tuple[Metrics, Tree]:
    """Held-out nats with the concepts, without them and with another text's; geometry; similarity; probe.

    Of the row's own task, a scored cell: nats (plain), nats/t, smoothed (beside its floor), accuracy; zeroed and
    shuffled: what a cell loses where concepts are 0 or those of another text. bound: nats a cell to decode at all
    levels of masking, -log p for an autoregressive row and the masked ELBO else, so that decoders compare.
    concept_gradient: norm of d task / d concept, of a text and concept; leak: share of the gradient of a logit by the
    decoder's embeddings that other cells have. Of whole clean texts: ``geometry``, beside that of as many random
    vectors (effective_rank_random, ...); similarity (Pearson) and
    similarity_rank (Spearman) of cosines of mean concepts with human scores, centred too; topic: accuracy of a ridge
    probe; retrieval: share of texts whose other version is the nearest; beside each what a count of words or the most
    frequent answer has (similarity_tf_idf, topic_majority, ...). Consumes ``key``.
    """
    params = train.evaluated(state, config)
    task_key, bound_key, leak_key = jax.random.split(key, 3)
    drawn = texts(data, held_out(data, config.eval_sequences))
    found = _own(task_key, params, hyper, config, data, drawn)
    found |= _bound(bound_key, params, hyper, config, data, drawn)
    found |= _gradients(leak_key, params, hyper, config, data, drawn)
    used = slots(hyper, config)
    whole = concepts_of(params, hyper, config, data, drawn.ids, drawn.valid)
    found |= _directions(whole, used)
    for name, measure in (("similarity", similarity), ("probe", _probe), ("retrieval", _retrieval)):
        if name in data:
            found |= measure(params, hyper, config, data)
    return found, {}


def _directions(z: Array, used: Array) -> Metrics:
    """Geometry of concepts [N,C,D], and of standard normal vectors in their place: the same ones for every row."""
    both = jnp.stack([z.astype(jnp.float32), jax.random.normal(jax.random.key(0), z.shape)])
    told = jax.lax.map(lambda each: geometry.geometry(each, used), both)
    scaled = {"slot_std"}  # has a unit, in which random vectors have what they are given
    return {name: each[0] for name, each in told.items()} | {
        f"{name}_random": each[1] for name, each in told.items() if name not in scaled
    }


def _own(key: PRNGKey, params: Tree, hyper: Hyper, config: Config, data: Tree, drawn: Texts) -> Metrics:
    def measured(_: None, i: Array) -> tuple[None, Metrics]:
        task = pose(jax.random.fold_in(key, i), drawn, hyper, mask_id(data))
        z, _ = encode(params, hyper, config, data, task.seen, task.keep)
        cells = task.scored.sum().astype(jnp.float32)
        mean = lambda value: Mean(jnp.where(task.scored, value, 0.0).sum(), cells)  # noqa: E731
        logits = decode(params, hyper, config, data, z, task)
        nats, smoothed = smoothed_cross_entropy(logits, task.x, hyper.smoothing)
        told = {
            "nats": mean(nats),
            "nats/t": losses.by_time(nats, task.scored, task.t),
            "smoothed": mean(smoothed),
            "accuracy": mean(without_mask(logits, data).argmax(-1) == task.x),
        }
        for name, changed in (("zeroed", jnp.zeros_like(z)), ("shuffled", jnp.roll(z, 1, axis=0))):
            other, _ = smoothed_cross_entropy(decode(params, hyper, config, data, changed, task), task.x, 0.0)
            told[name] = mean(other - nats)
        return None, told

    told = _gathered(jax.lax.scan(measured, None, jnp.arange(config.strata))[1])
    floor = smoothing_floor(hyper.smoothing, data["vocabulary"].shape[0])
    return told | {"smoothed_floor": floor}


def _bound(key: PRNGKey, params: Tree, hyper: Hyper, config: Config, data: Tree, drawn: Texts) -> Metrics:
    dense = hyper._replace(t_min=0.0, t_max=1.0, elbo=1.0, per_cell=1.0, visible_weight=0.0, smoothing=0.0)

    def measured(_: None, i: Array) -> tuple[None, Metrics]:
        task = pose(jax.random.fold_in(key, i), drawn, dense, mask_id(data))
        z, _ = encode(params, hyper, config, data, task.seen, task.keep)
        logits = without_mask(decode(params, hyper, config, data, z, task), data)
        nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), task.x[..., None], -1)[..., 0]
        cells = task.target.sum().astype(jnp.float32)
        return None, {"bound": Mean(weigh(nats, task, dense) * cells, cells)}

    return _gathered(jax.lax.scan(measured, None, jnp.arange(config.strata))[1])


def _gradients(key: PRNGKey, params: Tree, hyper: Hyper, config: Config, data: Tree, drawn: Texts) -> Metrics:
    task = pose(key, drawn, hyper, mask_id(data))
    z, _ = encode(params, hyper, config, data, task.seen, task.keep)

    def objective(z: Array) -> Array:
        _, smoothed = smoothed_cross_entropy(decode(params, hyper, config, data, z, task), task.x, hyper.smoothing)
        return weigh(smoothed, task, hyper)

    norms = jnp.linalg.norm(jax.grad(objective)(z), axis=-1) * len(z)  # of each text's own loss
    used = slots(hyper, config).astype(z.dtype)
    first: Task = jax.tree.map(lambda part: part[:LEAKING], task)
    # The last that is asked for: the first of an autoregressive decoder sees nothing else.
    cell = first.scored.shape[1] - 1 - first.scored[:, ::-1].argmax(1)

    def told(embedded: Array) -> Array:
        logits = decode(params, hyper, config, data, z[:LEAKING], first, embedded)
        at = jnp.take_along_axis(logits, cell[:, None, None], 1)[:, 0]
        answer = jnp.take_along_axis(first.x, cell[:, None], 1)
        return jnp.take_along_axis(at, answer, 1).sum()

    by_cell = jnp.linalg.norm(jax.grad(told)(jnp.zeros((*first.z.shape, config.d_model))), axis=-1)
    own = jnp.take_along_axis(by_cell, cell[:, None], 1).sum()
    total = by_cell.sum()
    return {
        "concept_gradient": Mean((norms * used[None]).sum(), len(z) * used.sum()),
        "leak": Mean(total - own, total),
    }


def similarity(params: Tree, hyper: Hyper, config: ModelConfig, data: Tree) -> Metrics:
    """How cosines of mean concepts, each text by itself, follow human scores, and what counts of words do."""
    given = data["similarity"]
    z = concepts_of(params, hyper, config, data, given["ids"], inside(given["ids"], given["lengths"]))
    vectors = given["share"] @ geometry.pooled(z, slots(hyper, config))
    found = {}
    for name, rows in (("similarity", vectors), ("similarity_centred", vectors - vectors.mean(0, keepdims=True))):
        cosine = geometry.cosine_similarity(rows)[given["left"], given["right"]]
        found[name] = geometry.pearson(cosine, given["score"])
        if name == "similarity":
            found["similarity_rank"] = geometry.spearman(cosine, geometry.ranks(given["score"]))
    for floor, (pearson, spearman) in given["floors"].items():
        found |= {f"similarity_{floor}": pearson, f"similarity_rank_{floor}": spearman}
    return found


def _probe(params: Tree, hyper: Hyper, config: Config, data: Tree) -> Metrics:
    given, used = data["probe"], slots(hyper, config)

    def vectors(rows: Array) -> Array:
        ids = data["ids"][rows]
        return geometry.pooled(concepts_of(params, hyper, config, data, ids, inside(ids, data["lengths"][rows])), used)

    told = geometry.ridge_accuracy(
        vectors(given["train"]),
        given["train_label"],
        vectors(given["test"]),
        given["test_label"],
        given["classes"].shape[0],
        PENALTY,
    )
    return {"topic": told, "topic_majority": given["majority"]}


def _retrieval(params: Tree, hyper: Hyper, config: Config, data: Tree) -> Metrics:
    rows, used = data["retrieval"]["rows"], slots(hyper, config)
    drawn = texts(data, rows)
    one = geometry.pooled(concepts_of(params, hyper, config, data, drawn.ids, drawn.valid), used)
    other = geometry.pooled(concepts_of(params, hyper, config, data, drawn.other, drawn.other_valid), used)
    cosine = geometry.cosine_similarity(jnp.concatenate([one, other]))[: len(rows), len(rows) :]
    hit = cosine.argmax(1) == jnp.arange(len(rows))
    floors = {f"retrieval_{floor}": value for floor, value in data["retrieval"]["floors"].items()}
    return {"retrieval": Mean(hit.sum(), jnp.float32(len(rows)))} | floors


def _gathered(metrics: Metrics) -> Metrics:
    """Means gathered along a scan, as one."""
    return jax.tree.map(lambda part: part.sum(0), metrics)
