"""What a replica is worth on held-out boards: both heads by t, the order parameters, and decoding."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gidd_jax import losses, oracle, probes, train
from gidd_jax.models import two_head
from gidd_jax.studies import sudoku_branches
from gidd_jax.studies.sudoku_decoding import decoded
from gidd_jax.studies.sudoku_model import Noised, evaluation_couplings, measured, measuring, noised, predict, shape
from gidd_jax.studies.sudoku_settings import Config, Hyper
from gidd_jax.types import Mean, Metrics, PRNGKey, Tree


def evaluate(
    state: train.TrainState, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, split: jax.Array
) -> tuple[Metrics, Tree]:
    """Metrics on validation (``split`` 0) or test (1) boards of the row's tier; no arrays.

    Heads at evenly spread t (losses in nats, accuracies, separation, precision, recall, each by t bin) beside the
    oracle floors; knock-out losses where the heads are joined by a cross path; cosine of the heads' trunk gradients;
    CKA of the towers; AUROC of the holding head on ``branch_boards``; what boards are worth that are completed by each
    k of ``config.decode`` and by each of ``config.samplers``. Consumes ``key``.
    """
    params, config = train.evaluated(state, config), measuring(config)
    dials = evaluation_couplings(hyper, config, state.optim.count)
    time_key, noise_key, decode_key = jax.random.split(key, 3)
    shown = _held_out(time_key, noise_key, hyper, config, data, split)
    model = shape(config, data)
    joined = model.towers == 2 or model.gated

    def batch_metrics(shown: Noised, cross: jax.Array) -> Metrics:
        heads = predict(params, config, data, shown, dials, cross=cross)
        found = measured(heads, shown)
        if model.towers == 2:
            found["tower_cka"] = probes.cka(*(x.reshape(-1, x.shape[-1]) for x in heads.features))
        return found

    size = _batch(config)
    # Heads that nothing joins have nothing to be knocked out; of a shared trunk's gate there is no random direction.
    ways = two_head.CROSSES[: 2 + model.towers if joined else 1]
    each = jax.lax.map(
        lambda cross: _over_batches(partial(batch_metrics, cross=cross), shown, size), jnp.arange(len(ways))
    )
    found = jax.tree.map(lambda x: x[0], each) | _knockouts(each, ways)
    found |= _separation(found)
    first = jax.tree.map(lambda x: x[:size], shown)
    found["gradient_cosine"] = gradient_cosine(params, config, data, first, dials)
    floors = oracle.holding_floors(
        model.digits, float(config.noise == "uniform"), oracle.clamped_times(1 / model.cells), config.label
    )
    found |= {name: jnp.asarray(value, jnp.float32) for name, value in floors.items()}
    boards = _boards(hyper, data, split, config.decode_boards)
    if "branch" in data:
        decode_key, branch_key = jax.random.split(decode_key)
        known = jax.tree.map(lambda x: x[split, hyper.tier], data["branch"])
        found |= sudoku_branches.asked(branch_key, lambda shown: predict(params, config, data, shown, dials), known)
    return found | decoded(decode_key, params, config, data, *boards, dials), {}


def gradient_cosine(params: Tree, config: Config, data: Tree, shown: Noised, dials: two_head.Couplings) -> Mean:
    """Cosine between the gradients of the two losses on all parameters but the heads' read-outs.

    Taken with both heads' gradients let through whole, so that it is defined at a gradient dial of 0 too. Over both
    towers where there are two: exactly 0 for uncoupled ones, whose gradients share no parameter.
    """

    dials = dials._replace(gradient=1.0, gradient_jump=1.0)

    def one(weights: jax.Array) -> jax.Array:
        def value(params: Tree) -> jax.Array:
            heads = predict(params, config, data, shown, dials)
            return losses.two_head_loss(heads.jump, heads.holding, shown, losses.TwoHeadWeights(*weights))[0]

        grads = jax.grad(value)(params)
        return ravel_pytree({name: grad for name, grad in grads.items() if name not in ("jump", "holding")})[0]

    return probes.cosine(*jax.lax.map(one, jnp.eye(2)))


def _held_out(
    time_key: PRNGKey, noise_key: PRNGKey, hyper: Hyper, config: Config, data: Tree, split: jax.Array
) -> Noised:
    """The evaluation's boards, evenly spread over the tier, at times evenly spread over (0,1)."""
    size = _batch(config)
    count = -(-config.eval_boards // size) * size
    question, answer = _boards(hyper, data, split, count)
    # Golden-ratio steps: even over any stretch of boards, whatever their order.
    t = (jax.random.uniform(time_key) + jnp.arange(count) * sudoku_branches.GOLDEN) % 1.0
    return noised(noise_key, config, question, answer, jnp.maximum(t, 1 / question.shape[1]))


def _batch(config: Config) -> int:
    # Taking the other tower's features from another board needs another board.
    return max(config.batch, 2)


def _boards(hyper: Hyper, data: Tree, split: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """``count`` boards at even distances through the row's tier of a split (split 0 is validation, 1 test)."""
    start, have = data["start"][split + 1, hyper.tier], data["count"][split + 1, hyper.tier]
    share = jnp.arange(count) / count
    index = start + jnp.minimum((share * have).astype(jnp.int32), have - 1)
    return data["question"][index], data["answer"][index]


def _over_batches(function, shown: Noised, size: int) -> Metrics:
    """``function`` of each batch in turn, its Means pooled."""
    batches = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), shown)
    means = jax.lax.map(function, batches)
    return jax.tree.map(lambda x: x.sum(axis=0), means)


def _knockouts(each: Metrics, ways: tuple[two_head.Cross, ...]) -> Metrics:
    """Loss of each head with what it reads of the other changed, minus its loss intact, of metrics [ways, ...].

    Zeroed, taken from another board, or, of towers, changed as much as by zeroing in a random direction.
    """
    found = {}
    for (place, how), head, axis in itertools.product(enumerate(ways), ("jump", "holding"), ("", "/t")):
        if place:
            total, weight = each[f"{head}_loss{axis}"]
            found[f"knockout_{how}_{head}{axis}"] = Mean(total[place] - total[0], weight[0])
    return found


def _separation(found: Metrics) -> Metrics:
    """Mean holding score on cells labelled 1 minus on cells labelled 0, where there are both."""
    separation = {}
    for axis in ("", "/t"):
        positive, negative = found.pop(f"score_positive{axis}"), found.pop(f"score_negative{axis}")
        both = (positive.weight > 0) & (negative.weight > 0)
        safe = [jnp.where(both, mean.total / jnp.maximum(mean.weight, 1), 0.0) for mean in (positive, negative)]
        separation[f"separation{axis}"] = Mean(safe[0] - safe[1], both.astype(jnp.float32))
    return separation
