"""KL and Itakura-Saito divergence between q_t(.|x) and the model's marginal, by reductions over the vocabulary only.

Both marginals are mixtures of the same noise, so with k = keep, b = uniform, f = softmax(logits without the mask):

    KL = (k + b) lr - b sum_{v < V; v != x, mask} log(1 + k f_v / b),    lr = log((k + b) / (k f_x + b)),
    IS = e^l - l - 1,    l = lr at z = x,   -log(1 + k f_z / b) at other tokens,   0 at the mask.

No one-hot, no log-marginal, no [..., V] residual but the logits themselves; the backward is one pass over V:

    d KL / d logit_v = h_v - f_v sum_j h_j,   h_v = -b y/(1+y),  h_x = -(k + b) y/(1+y),   y = k f_v / b.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

LOG_FLOOR = -1e6
"""log of a mass that is exactly 0: what pure masked noise puts on a token. Leaves every result finite."""

BLOCKS = {"cpu": 2**21}
"""Logits handled at once on a backend: as many as its caches hold."""
BLOCK = 2**24
"""The same elsewhere, 64 MiB in float32: enough to fill an accelerator, small beside a large batch's logits."""


class Pair(NamedTuple):
    """KL(q_t(.|x) || p_t) and the Itakura-Saito divergence q_t(z|x) : p_t(z), nats."""

    kl: Float[Array, "*n"]
    itakura_saito: Float[Array, "*n"]


class _Reduced(NamedTuple):
    """What the backward needs of a cell besides its logits."""

    top: Float[Array, "*n"]
    total: Float[Array, "*n"]
    ratio: Float[Array, "*n"]
    uniform: Float[Array, "*n"]
    h_x: Float[Array, "*n"]
    h_others: Float[Array, "*n"]
    rest: Float[Array, "*n"]
    pull_z: Float[Array, "*n"]
    counts: Bool[Array, "*n"]


def compute_dtype(*arrays: Any) -> jnp.dtype:
    """float64 if any input has it, else float32: half precision is for matmuls only (it biases an ELBO by 0.2-0.9%)."""
    return jnp.promote_types(jnp.result_type(*(array.dtype for array in arrays)), jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def divergences(
    vocab_size: int,
    mask_id: int,
    logits: Float[Array, "*n V"],
    x: Integer[Array, "*n"],
    z: Integer[Array, "*n"],
    keep: Float[Array, "*n"],
    uniform: Float[Array, "*n"],
) -> Pair:
    """Both divergences of every cell, [...] nats; the softmax is over every column but the mask's.

    Columns >= vocab_size pad the head: they take probability from the model, and q_t is 0 there, so training empties
    them. A cell whose clean token is the mask says nothing about the data: its divergences and gradients are 0.
    Gradients flow into the logits only.
    """
    return _forward(vocab_size, mask_id, logits, x, z, keep, uniform)[0]


def reduce(vocab_size, mask_id, logits, x, z, keep, uniform) -> tuple[Pair, _Reduced]:
    """The forward: three reductions over V (max, sum of exponentials, sum of logs), each fused with what it sums."""
    others = _others(mask_id, logits, x)
    score_x, score_z = (_score_at(token, mask_id, logits) for token in (x, z))
    top = jnp.maximum(others.max(-1), score_x)
    score_x, score_z = score_x - top, score_z - top
    mass = jnp.exp(others - top[..., None])
    mass_x, mass_others = jnp.exp(score_x), mass.sum(-1)
    total = mass_x + mass_others
    rest = mass_others / total

    log_keep, log_uniform, log_both = (_log(mass) for mass in (keep, uniform, keep + uniform))
    log_f_x = score_x - jnp.log(total)
    # 1 - f_x carries the digits of a ratio near 1; logs are left for a p_t(x) that no number can hold.
    p_x = keep * mass_x / total + uniform
    direct = jnp.log1p(keep * rest / jnp.maximum(p_x, 1e-30))
    lr = jnp.where(p_x > 1e-30, direct, log_both - jnp.logaddexp(log_keep + log_f_x, log_uniform))

    ratio = keep / jnp.maximum(uniform, 1e-30)
    y = (ratio / total)[..., None] * mass[..., :vocab_size]
    log_others, pull_others = jnp.log1p(y).sum(-1), (y / (1 + y)).sum(-1)
    kl = (keep + uniform) * lr - uniform * log_others

    log_ratio = log_keep - log_uniform
    log_y_z = log_ratio + score_z - jnp.log(total)
    l_z = jnp.where(z == x, lr, -jax.nn.softplus(log_y_z))
    l_z = jnp.minimum(l_z, 0.9 * jnp.log(jnp.finfo(l_z.dtype).max))
    counts, shown = x != mask_id, (z != mask_id) & (x != mask_id)
    pair = Pair(jnp.where(counts, kl, 0.0), jnp.where(shown, exp_minus_linear(l_z), 0.0))
    h_x = -(keep + uniform) * jax.nn.sigmoid(log_ratio + log_f_x)
    pull_z = jnp.where(shown, -jax.nn.sigmoid(log_y_z) * jnp.expm1(l_z), 0.0)
    return pair, _Reduced(top, total, ratio, uniform, h_x, -uniform * pull_others, rest, pull_z, counts)


def logits_gradient(vocab_size, mask_id, logits, x, z, reduced: _Reduced, cotangent: Pair) -> Float[Array, "*n V"]:
    """The backward: one elementwise pass over V, in the compute dtype."""
    wide = jax.tree.map(lambda a: a[..., None], reduced)
    kl, itakura_saito = (jnp.where(reduced.counts, g, 0.0)[..., None] for g in cotangent)
    f = jnp.exp(_scores(mask_id, logits) - wide.top) / wide.total
    y = wide.ratio * f
    padding = _ids(logits) >= vocab_size
    others = jnp.where(padding, 0.0, -wide.uniform * y / (1 + y)) - f * (wide.h_x + wide.h_others)
    at_x = wide.h_x * wide.rest - f * wide.h_others
    from_kl = jnp.where(_is(x, logits), at_x, others)
    return kl * from_kl + itakura_saito * wide.pull_z * (_is(z, logits) - f)


def exp_minus_linear(l: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """e^l - l - 1 >= 0 without cancellation near 0: the Itakura-Saito divergence of a : b at l = log(a/b)."""
    near = jnp.square(l) * (1 / 2 + l * (1 / 6 + l * (1 / 24 + l * (1 / 120 + l / 720))))
    return jnp.where(jnp.abs(l) < 0.03, near, jnp.expm1(l) - l)


def _scores(mask_id: int, logits: Float[Array, "*n V"]) -> Float[Array, "*n V"]:
    return jnp.where(_ids(logits) != mask_id, logits.astype(compute_dtype(logits)), -jnp.inf)


def _others(mask_id: int, logits: Float[Array, "*n V"], x: Integer[Array, "*n"]) -> Float[Array, "*n V"]:
    """The scores of all tokens but x and the mask; these two stand at -inf."""
    if jax.default_backend() != "cpu":
        return jnp.where(_is(x, logits), -jnp.inf, _scores(mask_id, logits))
    # A comparison in every pass costs a CPU more than one pass that writes the two.
    flat = logits.reshape(-1, logits.shape[-1]).astype(compute_dtype(logits))
    flat = flat.at[jnp.arange(flat.shape[0]), x.reshape(-1)].set(-jnp.inf).at[:, mask_id].set(-jnp.inf)
    return flat.reshape(logits.shape)


def _score_at(token: Integer[Array, "*n"], mask_id: int, logits: Float[Array, "*n V"]) -> Float[Array, "*n"]:
    chosen = jnp.take_along_axis(logits, token[..., None], axis=-1)[..., 0].astype(compute_dtype(logits))
    return jnp.where(token == mask_id, -jnp.inf, chosen)


def _is(token: Integer[Array, "*n"], logits: Float[Array, "*n V"]) -> Bool[Array, "*n V"]:
    return _ids(logits) == token[..., None]


def _ids(logits: Float[Array, "*n V"]) -> Integer[Array, "*one V"]:
    return jax.lax.broadcasted_iota(jnp.int32, (1,) * (logits.ndim - 1) + logits.shape[-1:], logits.ndim - 1)


def _log(mass: Float[Array, "*n"]) -> Float[Array, "*n"]:
    return jnp.maximum(jnp.log(mass), LOG_FLOOR)


def _in_blocks(f, logits: Float[Array, "*n V"], *cells):
    """f over blocks of cells, written in place: what a compiler does not fuse is never larger than a block."""
    shape, block = logits.shape[:-1], max(BLOCKS.get(jax.default_backend(), BLOCK) // logits.shape[-1], 1)
    count = math.prod(shape)
    if count <= block:
        return f(logits, *cells)
    flat = jax.tree.map(lambda a: a.reshape(count, *a.shape[len(shape) :]), (logits, *cells))

    def piece(start):
        return f(*jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, block), flat))

    def write(i, whole):
        # The last block overlaps the one before it, and writes the same values there again.
        start = jnp.minimum(i * block, count - block)
        return jax.tree.map(lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, start, 0), whole, piece(start))

    empty = jax.tree.map(lambda a: jnp.zeros((count, *a.shape[1:]), a.dtype), jax.eval_shape(piece, 0))
    whole = jax.lax.fori_loop(0, -(-count // block), write, empty)
    return jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), whole)


def _forward(vocab_size, mask_id, logits, x, z, keep, uniform):
    pair, reduced = _in_blocks(functools.partial(reduce, vocab_size, mask_id), logits, x, z, keep, uniform)
    return pair, (logits, x, z, reduced)


def _backward(vocab_size, mask_id, saved, cotangent):
    logits, x, z, reduced = saved

    def gradient(logits, *cells):
        return logits_gradient(vocab_size, mask_id, logits, *cells).astype(logits.dtype)

    return _in_blocks(gradient, logits, x, z, reduced, cotangent), None, None, None, None


divergences.defvjp(_forward, _backward)
