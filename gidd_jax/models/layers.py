"""Transformer layers for T towers at once: activations are [T,B,S,D] and every parameter carries the tower axis first.

Two towers then cost batched matrix products, not a loop. Initializers here only name shapes; `two_head.init` draws.
What needs no parameters (rounded products, dropout, rotary positions) serves models without towers too.
"""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from gidd_jax.replica import KERNELS, Exchange, attention, paired_attention
from gidd_jax.types import PRNGKey, Tree

FLOAT32 = jnp.dtype("float32")
_shape_only = nn.initializers.zeros


def filled(key: PRNGKey, shapes: Tree, fill: Callable[[tuple[str, ...], Array], Array]) -> Tree:
    """``fill(path, draw)`` for every shape of a nested dict, draw uniform in +-1 and of that shape; consumes the key.

    One flat vector is drawn for all tensors, because threefry compiles once per call.
    """
    wanted, structure = jax.tree_util.tree_flatten_with_path(shapes)
    numbers = jax.random.uniform(key, (sum(leaf.size for _, leaf in wanted),), FLOAT32, -1.0, 1.0)
    leaves, start = [], 0
    for path, leaf in wanted:
        draw = numbers[start : start + leaf.size].reshape(leaf.shape)
        leaves.append(fill(tuple(entry.key for entry in path), draw))
        start += leaf.size
    return jax.tree.unflatten(structure, leaves)


def product(subscripts: str, x: Float[Array, "..."], y: Float[Array, "..."], dtype: jnp.dtype) -> Float[Array, "..."]:
    """`einsum` of x and y with operands and result rounded to `dtype`, returned in float32."""
    # The result is rounded too: a float32 cotangent would run the backward products in float32.
    return jnp.einsum(subscripts, x.astype(dtype), y.astype(dtype)).astype(FLOAT32)


@jax.custom_vjp
def project(x_TxNxD: Float[Array, "T N D"], kernel_TxDxF: Float[Array, "T D F"]) -> Float[Array, "T N F"]:
    """x W per tower. The gradient of W is formed with the narrower operand first, the one that XLA transposes on a CPU.

    Reverse mode, or forward over reverse; not forward mode alone.
    """
    return _project_fwd(x_TxNxD, kernel_TxDxF)[0]


def _project_fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return jnp.einsum("tnd,tdf->tnf", x, kernel), (x, kernel)


def _project_bwd(saved: tuple[Array, Array], dy_TxNxF: Array) -> tuple[Array, Array]:
    x_TxNxD, kernel_TxDxF = saved
    by_row = ((1,), (1,)), ((0,), (0,))
    if x_TxNxD.shape[-1] <= dy_TxNxF.shape[-1]:
        gradient = jax.lax.dot_general(x_TxNxD, dy_TxNxF, by_row)
    else:
        gradient = jax.lax.dot_general(dy_TxNxF, x_TxNxD, by_row).swapaxes(1, 2)
    return jnp.einsum("tnf,tdf->tnd", dy_TxNxF, kernel_TxDxF), gradient


project.defvjp(_project_fwd, _project_bwd)


def standardise(x: Float[Array, "*batch D"], eps: float = 1e-5) -> Float[Array, "*batch D"]:
    """(x - mean) / sqrt(variance + eps) over the last axis, in float32."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + eps)


class Dense(nn.Module):
    """y = x W + b per tower, [T,B,S,D] -> [T,B,S,F] in float32; the product's operands and result are in `dtype`."""

    features: int
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x_TxBxSxD: Float[Array, "T *rows D"]) -> Float[Array, "T *rows F"]:
        towers, *_, width = x_TxBxSxD.shape
        kernel_TxDxF = self.param("kernel", _shape_only, (towers, width, self.features))
        bias_TxF = self.param("bias", _shape_only, (towers, self.features))
        x_TxNxD = x_TxBxSxD.reshape(towers, -1, width).astype(self.dtype)
        y_TxNxF = project(x_TxNxD, kernel_TxDxF.astype(self.dtype)).astype(FLOAT32) + bias_TxF[:, None, :]
        return y_TxNxF.reshape(*x_TxBxSxD.shape[:-1], self.features)


class Embedding(nn.Module):
    """Rows of a table per tower, [B,S] -> [T,B,S,D], as a one-hot product: its gradient needs no scatter."""

    towers: int
    entries: int
    width: int

    @nn.compact
    def __call__(self, index_BxS: Integer[Array, "B S"]) -> Float[Array, "T B S D"]:
        table_TxVxD = self.param("embedding", _shape_only, (self.towers, self.entries, self.width))
        one_hot_BxSxV = jax.nn.one_hot(index_BxS, self.entries, dtype=FLOAT32)
        return jnp.einsum("bsv,tvd->tbsd", one_hot_BxSxV, table_TxVxD, precision="highest")


class LayerNorm(nn.Module):
    """`standardise` over the width, times a scale and plus a bias per tower."""

    @nn.compact
    def __call__(self, x_TxBxSxD: Float[Array, "T B S D"]) -> Float[Array, "T B S D"]:
        towers, *_, width = x_TxBxSxD.shape
        scale_TxD = self.param("scale", _shape_only, (towers, width))
        bias_TxD = self.param("bias", _shape_only, (towers, width))
        return standardise(x_TxBxSxD) * scale_TxD[:, None, None, :] + bias_TxD[:, None, None, :]


def dropout(key: PRNGKey, x: Float[Array, "*shape D"], rate: float) -> Float[Array, "*shape D"]:
    """Zero each entry with probability `rate`, rounded to 2^-32, and divide the rest by the exact keep probability.

    Entry c of row r is kept where h(h((r + a) ^ b) ^ c G) < 2^32 keep, h a bijective hash and a, b two words of the
    key, which is consumed: a word of threefry for each entry costs more than the layer around it.
    """
    threshold = min(round((1 - rate) * 2**32), 2**32 - 1)
    a, b = jax.random.bits(key, (2,), jnp.uint32)
    *rows, width = x.shape
    row = jnp.arange(math.prod(rows), dtype=jnp.uint32).reshape(*rows, 1)
    column = jnp.arange(width, dtype=jnp.uint32) * np.uint32(0x9E3779B1)
    words = _hash(_hash((row + a) ^ b) ^ column.reshape((1,) * len(rows) + (width,)))
    return jnp.where(words < np.uint32(threshold), x * (2**32 / threshold), jnp.zeros_like(x))


def _hash(word: Integer[Array, "*shape"]) -> Integer[Array, "*shape"]:
    """A bijection of 32-bit words in which every bit in changes every bit out half of the time.

    Two multiplications and three shifts: github.com/skeeto/hash-prospector, its best of that form, bias .1076.
    """
    word = (word ^ (word >> 16)) * np.uint32(0x21F0AAAD)
    word = (word ^ (word >> 15)) * np.uint32(0xD35A2D97)
    return word ^ (word >> 15)


class Dropout(nn.Module):
    """`dropout` with a key of its own per call; the identity at rate 0 or when no dropout key was given."""

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "*shape D"]) -> Float[Array, "*shape D"]:
        if self.rate == 0 or not self.has_rng("dropout"):
            return x
        return dropout(self.make_rng("dropout"), x, self.rate)


@jax.custom_jvp
def scale_gradient(x: Float[Array, "*shape"], g: Float[Array, ""]) -> Float[Array, "*shape"]:
    """x, unchanged to the bit; the gradient that returns through it is multiplied by g, and cut exactly at g = 0."""
    return x


@scale_gradient.defjvp
def _scale_gradient_jvp(primals, tangents):
    x, g = primals
    # Masked, not only multiplied: 0 * inf would poison the trunk.
    return x, jnp.where(g == 0, 0.0, tangents[0]) * g


def line_angles(length: int, d_head: int, base: float = 10_000.0) -> Float[np.ndarray, "S half"]:
    """Angles of rotary positions on a line, s base^(-i / (d_head/2)) radians, [S, d_head/2]. arXiv 2104.09864."""
    return np.arange(length)[:, None] * base ** (-np.arange(d_head // 2) / (d_head // 2))[None, :]


def rotary_angles(side: int, d_head: int, base: float = 10.0) -> Float[np.ndarray, "S half"]:
    """Angles of two-dimensional rotary positions on a side x side board, [S, d_head/2] radians.

    The first half of the pairs turns with the row, the second with the column, at base^(-i / (d_head/4)) radians per
    cell, i = 0, 1, ... Source: sotaku (base 10).
    """
    frequency = base ** (-np.arange(d_head // 4) / (d_head // 4))
    row, column = np.divmod(np.arange(side * side), side)
    return np.concatenate([row[:, None] * frequency[None, :], column[:, None] * frequency[None, :]], axis=1)


def rotate(x: Float[Array, "*batch S Dh"], angles_SxP: Float[np.ndarray, "S half"]) -> Float[Array, "*batch S Dh"]:
    """Turn the pairs (x[p], x[p + Dh/2]) by their angles, so that q k^T depends on differences of positions only."""
    angles = angles_SxP.reshape((1,) * (x.ndim - 2) + angles_SxP.shape)
    cosine, sine = jnp.asarray(np.cos(angles), x.dtype), jnp.asarray(np.sin(angles), x.dtype)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=-1)


class Attention(nn.Module):
    """Multi-head attention, full and bidirectional; two towers are coupled by g (`replica.paired_attention`)."""

    heads: int
    dtype: jnp.dtype
    dropout: float
    exchange: Exchange
    kernel: str
    rotary: Callable[[Array], Array] | None = None

    @nn.compact
    def __call__(self, x_TxBxSxD: Float[Array, "T B S D"], g: Float[Array, ""]) -> Float[Array, "T B S D"]:
        towers, batch, cells, width = x_TxBxSxD.shape
        qkv_TxNxE = Dense(3 * width, self.dtype, name="qkv")(x_TxBxSxD.reshape(towers, -1, width))
        by_head = (towers, batch, cells, self.heads, width // self.heads)
        q, k, v = (x.reshape(by_head).swapaxes(2, 3) for x in jnp.split(qkv_TxNxE, 3, axis=-1))  # each [T,B,H,S,D/H]
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        q, k, v = q.astype(self.dtype), k.astype(self.dtype), v.astype(self.dtype)
        drop = Dropout(self.dropout) if self.dropout and self.has_rng("dropout") else None
        attend = partial(attention, on_weights=drop) if drop else KERNELS[self.kernel]
        mixed = paired_attention(q, k, v, g, attend, self.exchange) if towers == 2 else attend(q, k, v)
        mixed_TxBxSxD = mixed.transpose(0, 1, 3, 2, 4).reshape(towers, batch, cells, width)
        return Dense(width, self.dtype, name="out")(mixed_TxBxSxD)


class FeedForward(nn.Module):
    """W_2 relu(W_1 x + b_1) + b_2."""

    hidden: int
    dtype: jnp.dtype
    dropout: float

    @nn.compact
    def __call__(self, x_TxBxSxD: Float[Array, "T B S D"]) -> Float[Array, "T B S D"]:
        hidden_TxBxSxF = jax.nn.relu(Dense(self.hidden, self.dtype, name="up")(x_TxBxSxD))
        return Dense(x_TxBxSxD.shape[-1], self.dtype, name="out")(Dropout(self.dropout)(hidden_TxBxSxF))


class Block(nn.Module):
    """One transformer layer. pre: x + f(norm(x)); post: norm(x + f(x)), as torch's `norm_first=False`."""

    heads: int
    hidden: int
    norm: str
    dropout: float
    dtype: jnp.dtype
    exchange: Exchange
    kernel: str
    rotary: Callable[[Array], Array] | None = None

    @nn.compact
    def __call__(self, x_TxBxSxD: Float[Array, "T B S D"], g: Float[Array, ""]) -> Float[Array, "T B S D"]:
        shared = (self.heads, self.dtype, self.dropout, self.exchange, self.kernel, self.rotary)
        attend = Attention(*shared, name="attention")
        feed = FeedForward(self.hidden, self.dtype, self.dropout, name="feed")
        drop = Dropout(self.dropout)
        norm_attention, norm_feed = LayerNorm(name="norm_attention"), LayerNorm(name="norm_feed")
        if self.norm == "pre":
            x_TxBxSxD = x_TxBxSxD + drop(attend(norm_attention(x_TxBxSxD), g))
            return x_TxBxSxD + drop(feed(norm_feed(x_TxBxSxD)))
        x_TxBxSxD = norm_attention(x_TxBxSxD + drop(attend(x_TxBxSxD, g)))
        return norm_feed(x_TxBxSxD + drop(feed(x_TxBxSxD)))
