"""The divergences of logits that exist for one chunk of cells at a time, with the head's matmul inside."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from gidd_jax.losses.divergence import Pair, compute_dtype, divergences, logits_gradient, reduce


@functools.partial(jax.tree_util.register_dataclass, data_fields=["features", "head", "bias"], meta_fields=["chunk"])
@dataclasses.dataclass(frozen=True)
class LazyLogits:
    """features head + bias, [B,S,V], ``chunk`` cells at a time, forward and backward.

    Temporary memory is a few times chunk x V and one gradient of the head, whatever B and S: for vocabularies whose
    logits do not fit. The backward computes the logits again (a third more matmul work than keeping them).
    """

    features: Float[Array, "B S D"]
    head: Float[Array, "D V"]
    bias: Float[Array, "V"] | None = None
    chunk: int = 1024

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.features.shape[:-1], self.head.shape[-1])

    @property
    def dtype(self) -> jnp.dtype:
        return compute_dtype(self.features, self.head)


def cell_divergences(vocab_size: int, mask_id: int, logits: Float[Array, "B S V"] | LazyLogits, *cells: Array) -> Pair:
    """``divergences`` of logits as they are, or chunk by chunk."""
    if not isinstance(logits, LazyLogits):
        return divergences(vocab_size, mask_id, logits, *cells)
    bias = jnp.zeros(logits.shape[-1], logits.dtype) if logits.bias is None else logits.bias
    return divergences_from_features(vocab_size, mask_id, logits.chunk, logits.features, logits.head, bias, *cells)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def divergences_from_features(
    vocab_size: int,
    mask_id: int,
    chunk: int,
    features: Float[Array, "*n D"],
    head: Float[Array, "D V"],
    bias: Float[Array, "V"],
    x: Integer[Array, "*n"],
    z: Integer[Array, "*n"],
    keep: Float[Array, "*n"],
    uniform: Float[Array, "*n"],
) -> Pair:
    """``divergence.divergences`` of logits = features head + bias, [...] nats; memory of order chunk x V.

    The products run in the inputs' dtype and are summed in float32 (float64 for float64 inputs). Gradients flow into
    features, head and bias.
    """
    return _forward(vocab_size, mask_id, chunk, features, head, bias, x, z, keep, uniform)[0]


def _forward(vocab_size, mask_id, chunk, features, head, bias, x, z, keep, uniform):
    def one_chunk(cells):
        features_CxD, *tokens = cells
        return reduce(vocab_size, mask_id, _logits(features_CxD, head, bias), *tokens)

    cells = _split((features, x, z, keep, uniform), x.ndim, min(chunk, x.size))
    pair, reduced = jax.lax.map(one_chunk, cells)
    joined = jax.tree.map(lambda a: a.reshape(-1)[: x.size].reshape(x.shape), pair)
    return joined, (features, head, bias, x, z, reduced)


def _backward(vocab_size, mask_id, chunk, saved, cotangent):
    features, head, bias, x, z, reduced = saved
    dtype = compute_dtype(features, head)

    def one_chunk(sums, cells):
        head_DxV, bias_V = sums
        features_CxD, x_C, z_C, cotangent_C, reduced_C = cells
        logits_CxV = _logits(features_CxD, head, bias)
        gradient_CxV = logits_gradient(vocab_size, mask_id, logits_CxV, x_C, z_C, reduced_C, cotangent_C)
        # As in any mixed-precision matmul: factors in the inputs' dtype, sums in float32.
        narrow_CxV = gradient_CxV.astype(features.dtype)
        of_features_CxD = jnp.matmul(narrow_CxV, head.T, preferred_element_type=dtype).astype(features.dtype)
        of_head_DxV = jnp.matmul(features_CxD.T, narrow_CxV, preferred_element_type=dtype)
        return (head_DxV + of_head_DxV, bias_V + gradient_CxV.sum(0)), of_features_CxD

    cells = (*_split((features, x, z, cotangent), x.ndim, min(chunk, x.size)), reduced)
    zeros = (jnp.zeros(head.shape, dtype), jnp.zeros(bias.shape, dtype))
    (of_head, of_bias), of_features = jax.lax.scan(one_chunk, zeros, cells)
    of_features = of_features.reshape(-1, features.shape[-1])[: x.size].reshape(features.shape)
    return of_features, of_head.astype(head.dtype), of_bias.astype(bias.dtype), None, None, None, None


def _logits(features_CxD: Float[Array, "C D"], head: Float[Array, "D V"], bias: Float[Array, "V"]):
    dtype = compute_dtype(features_CxD, head)
    return jnp.matmul(features_CxD, head, preferred_element_type=dtype) + bias.astype(dtype)[None]


def _split(cells, ndim: int, chunk: int):
    """Arrays of cells (the first ``ndim`` axes) as [chunks, chunk, ...]; the last chunk is filled up with zeros."""

    def one(a):
        flat = a.reshape(-1, *a.shape[ndim:])
        missing = -flat.shape[0] % chunk
        padded = jnp.pad(flat, [(0, missing)] + [(0, 0)] * (flat.ndim - 1))
        return padded.reshape(-1, chunk, *flat.shape[1:])

    return jax.tree.map(one, cells)


divergences_from_features.defvjp(_forward, _backward)
