"""The GIDD loss, forward and backward: the fused form and the fused head against the plain form, in time and memory.

Plain is what the reference implementation computes (arXiv 2503.04482, its appendix and published code): a one-hot of
the clean token, both marginals over the vocabulary, their logarithms, and the sum of q (log q - log p).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.flops import Rates, Work, matmul
from benchmarks.harness import Compiled, Pace, Row, compiled, paired, roofline, sample
from gidd_jax import corruption, losses, schedules

T = 0.4
LOG_FLOOR = -1e6


class Sizes(NamedTuple):
    """Tokens of a batch (a second number: compiled only, for its memory), vocabulary, width of the features."""

    tokens: int
    many_tokens: int
    vocab: int
    width: int
    chunk: int


SCALES = {
    "full": Sizes(4096, 32_768, 50_304, 256, 128),
    "quick": Sizes(256, 2048, 4096, 64, 32),
    "tiny": Sizes(16, 32, 64, 8, 4),
}


def plain_loss(
    schedule: schedules.Schedule, logits: jax.Array, x: jax.Array, z: jax.Array, t: jax.Array
) -> tuple[jax.Array, dict]:
    """The same scalar as ``losses.gidd_loss`` of logits [B,S,V], every tensor over the vocabulary written out."""
    masked = jnp.where(jax.nn.one_hot(schedule.mask_id, schedule.vocab_size, dtype=bool)[None, None], -jnp.inf, logits)
    keep = schedules.over_cells(schedules.alpha(schedule, t))[..., None]
    noise = schedules.beta_pi(schedule, schedules.over_cells(t))
    q = keep * jax.nn.one_hot(x, schedule.vocab_size, dtype=logits.dtype) + noise
    p = keep * jax.nn.softmax(masked, -1) + noise
    log_q, log_p = (jnp.clip(jnp.log(mass), min=LOG_FLOOR) for mass in (q, p))
    kl = (q * (log_q - log_p)).sum(-1)
    difference = jnp.take_along_axis(log_q - log_p, z[..., None], -1)[..., 0]
    itakura_saito = jnp.exp(difference) - difference - 1
    weight = losses.loss_weight(schedule, x, z, t)
    return (weight * (kl + itakura_saito)).mean(), {}


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """Fused and plain in turn; then the head, with its product inside, at few and at many tokens."""
    schedule = schedules.hybrid(sizes.vocab, sizes.vocab - 1, 0.2)
    shape = {"tokens": sizes.tokens, "vocab": sizes.vocab}
    logits, x, z = _batch(schedule, sizes, sizes.tokens)

    plain = _gradient(partial(plain_loss, schedule), logits, x, z)
    fused = _gradient(partial(losses.gidd_loss, schedule), logits, x, z)
    _same(plain.call(logits, x, z), fused.call(logits, x, z))
    ours, theirs, ratio = paired(lambda: fused.call(logits, x, z), lambda: plain.call(logits, x, z), pace)
    # Forward and backward read the logits once each, and the gradient is written.
    floor = roofline(Work(0, 3 * logits.nbytes), rates)
    yield Row("gidd_loss/plain", shape, theirs, plain, floor_s=floor, note="one-hot, both marginals, both logarithms")
    yield Row("gidd_loss/fused", shape, ours, fused, "plain", ratio, _share(fused, plain), floor)
    del logits

    features, head, x, z = _features(schedule, sizes, sizes.tokens)
    width = shape | {"width": sizes.width}
    plain = _gradient(partial(_of_product, partial(plain_loss, schedule)), (features, head), x, z)
    kept = _gradient(partial(_of_product, partial(losses.gidd_loss, schedule)), (features, head), x, z)
    inside = partial(_lazy, schedule, sizes.chunk)
    lazy = _gradient(inside, (features, head), x, z)
    # Logits, and the two products of the backward; what is recomputed does not count.
    floor = roofline([matmul(sizes.tokens, sizes.width, sizes.vocab)] * 3, rates)
    taken = sample(lambda: kept.call((features, head), x, z), pace)
    yield Row("gidd_loss/product, fused", width, taken, kept, "", None, _share(kept, plain), floor, note="logits kept")
    taken = sample(lambda: lazy.call((features, head), x, z), pace)
    chunked = width | {"chunk": sizes.chunk}
    yield Row("gidd_loss/head", chunked, taken, lazy, "product, plain", None, _share(lazy, plain), floor)

    many = jax.eval_shape(lambda: _features(schedule, sizes, sizes.many_tokens))
    large = _gradient(inside, many[:2], *many[2:])
    grown = large.temp_bytes / lazy.temp_bytes
    note = f"{sizes.many_tokens // sizes.tokens} times the tokens, {grown:.3g} times the temporary memory; not run"
    yield Row("gidd_loss/head", chunked | {"tokens": sizes.many_tokens}, None, large, note=note)


def _gradient(loss: Callable[..., Any], parameters: Any, x: Any, z: Any) -> Compiled:
    """(loss, gradient) of the parameters, compiled."""

    def scalar(parameters: Any, x: jax.Array, z: jax.Array) -> jax.Array:
        return loss(parameters, x, z, jnp.float32(T))[0]

    return compiled(jax.value_and_grad(scalar), parameters, x, z)


def _of_product(loss: Callable[..., Any], parameters: Any, x: jax.Array, z: jax.Array, t: jax.Array) -> Any:
    features, head = parameters
    return loss(features @ head, x, z, t)


def _lazy(schedule: Any, chunk: int, parameters: Any, x: jax.Array, z: jax.Array, t: jax.Array) -> Any:
    return losses.gidd_loss(schedule, losses.LazyLogits(*parameters, chunk=chunk), x, z, t)


def _batch(schedule: Any, sizes: Sizes, tokens: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    of_logits, of_x, of_z = jax.random.split(jax.random.key(0), 3)
    logits = jax.jit(lambda key: jax.random.normal(key, (1, tokens, sizes.vocab)))(of_logits)
    x = jax.random.randint(of_x, (1, tokens), 0, sizes.vocab - 1)
    return logits, x, corruption.corrupt(of_z, schedule, x, T)[0]


def _features(schedule: Any, sizes: Sizes, tokens: int) -> tuple[jax.Array, ...]:
    of_features, of_head, of_x, of_z = jax.random.split(jax.random.key(1), 4)
    features = jax.random.normal(of_features, (1, tokens, sizes.width))
    head = jax.random.normal(of_head, (sizes.width, sizes.vocab)) / sizes.width**0.5
    x = jax.random.randint(of_x, (1, tokens), 0, sizes.vocab - 1)
    return features, head, x, corruption.corrupt(of_z, schedule, x, T)[0]


def _share(row: Compiled, against: Compiled) -> float:
    return row.temp_bytes / against.temp_bytes


def _same(plain: Any, fused: Any) -> None:
    """Both forms must be the same loss, or their times compare nothing."""
    np.testing.assert_allclose(plain[0], fused[0], rtol=1e-4)
    scale = float(jnp.abs(plain[1]).max())
    worst = float(jnp.abs(plain[1] - fused[1]).max())
    if worst > 1e-3 * scale:
        raise AssertionError(f"gradients differ by {worst:.3g} of {scale:.3g}")
