"""Replica-coupled attention: two replicas of one transformer read each other's keys and values.

Source: synchronization_gap_paper, equations 16-19. The pair (A, B) stands in the leading axis of every array, so a
coupled layer is two calls of plain attention, whatever kernel computes it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Attend = Callable[[Array, Array, Array], Array]
"""(q, k, v) -> out, each [...,S,Dh]."""

Exchange = Callable[[Array, Array], tuple[Array, Array]]
"""(k, v) -> the keys and values each replica reads from the other."""


def attention(
    q: Float[Array, "*batch S Dh"],
    k: Float[Array, "*batch K Dh"],
    v: Float[Array, "*batch K Dh"],
    on_weights: Callable[[Array], Array] | None = None,
    mask: Bool[Array, "*#batch S K"] | None = None,
) -> Float[Array, "*batch S Dh"]:
    """Plain bidirectional attention, softmax(q k^T / sqrt(Dh)) v, row by row over the K keys.

    The softmax runs in the input's dtype, bfloat16 in float32. `on_weights` acts on the weights (dropout).
    Keys where ``mask`` is False are not read; a row that may read none reads all alike.
    """
    scores = _scores(q / q.shape[-1] ** 0.5, k)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    if on_weights is None:
        return _read(scores, v)
    return _product(on_weights(_softmax(scores)).astype(v.dtype), v)


def fused(
    q: Float[Array, "*batch H S Dh"], k: Float[Array, "*batch H K Dh"], v: Float[Array, "*batch H K Dh"]
) -> Float[Array, "*batch H S Dh"]:
    """``attention`` by cuDNN's kernel on a GPU, for operands in half precision; anything else is ``attention``.

    It has no forward mode, and a last bit of its own. An odd number of cells gets one more that nobody reads.
    """
    if jax.default_backend() != "gpu" or q.dtype == jnp.float32:
        return attention(q, k, v)
    cells, keys = q.shape[-2], k.shape[-2]
    q_, k_, v_ = (_evened(x.reshape(-1, *x.shape[-3:]).swapaxes(1, 2)) for x in (q, k, v))  # [N,S,H,Dh]
    odd = cells % 2 or keys % 2
    lengths = {"query_seq_lengths": _all(cells, q_), "key_value_seq_lengths": _all(keys, q_)} if odd else {}
    out = jax.nn.dot_product_attention(q_, k_, v_, **lengths, implementation="cudnn")
    return out[:, :cells].swapaxes(1, 2).reshape(q.shape)


def _evened(x: Float[Array, "N S H Dh"]) -> Float[Array, "N S2 H Dh"]:
    """cuDNN differentiates no odd length (jax 0.10 to 0.12)."""
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)))


def _all(length: int, x: Float[Array, "N S H Dh"]) -> Int[Array, "N"]:
    """The length, N times, under ``vmap`` as often as x: before jax 0.11.1 cuDNN's rule needs each operand mapped."""
    return length + 0 * jnp.isnan(x[:, 0, 0, 0]).astype(jnp.int32)


SMALL = 32 * 32
"""Weights of a head up to which their transpose is cheaper as a copy; at 36 x 36 it is no longer."""

KERNELS: dict[str, Attend] = {"auto": attention, "einsum": attention, "cudnn": fused}
"""By name; "auto" is the einsum where nobody has raced them."""


@jax.custom_jvp
def _scores(q: Float[Array, "*batch S Dh"], k: Float[Array, "*batch K Dh"]) -> Float[Array, "*batch S K"]:
    """q k^T, of half precision in float32."""
    return jnp.einsum("...sd,...kd->...sk", q, k, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32))


@_scores.defjvp
def _scores_jvp(primals, tangents):
    (q, k), (dq, dk) = primals, tangents
    scores = _scores(q, k)
    by_key = _held(_scores(dk, q)).swapaxes(-1, -2) if _small(scores) else _scores(q, dk)
    return scores, _scores(dq, k) + by_key


@jax.custom_jvp
def _read(scores: Float[Array, "*batch S K"], v: Float[Array, "*batch K Dh"]) -> Float[Array, "*batch S Dh"]:
    """softmax(scores) v. Alone it divides [S,Dh] at the end, not [S,K]; its derivative needs the weights anyway."""
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    mean = _product(weights.astype(v.dtype), v) / weights.sum(-1, keepdims=True).astype(v.dtype)
    # The bounds change no finite number: they keep XLA from contracting the quotient with what is added to it, which
    # would round own + cross unlike cross + own.
    return jnp.clip(mean, jnp.finfo(v.dtype).min, jnp.finfo(v.dtype).max)


@_read.defjvp
def _read_jvp(primals, tangents):
    (scores, v), (d_scores, dv) = primals, tangents
    weights, moved = jax.jvp(_softmax, (scores,), (d_scores,))
    return jax.jvp(_product, (weights.astype(v.dtype), v), (moved.astype(v.dtype), dv))


@jax.custom_jvp
def _softmax(scores: Float[Array, "*batch S K"]) -> Float[Array, "*batch S K"]:
    """exp(scores - log sum exp scores) over the keys: one pass over the scores where a quotient takes two."""
    # The greatest is taken off first: added to the logarithm it would round that away where scores are large.
    below = scores - scores.max(-1, keepdims=True)
    return jnp.exp(below - jnp.log(jnp.exp(below).sum(-1, keepdims=True)))


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
    weights, (change,) = _softmax(*primals), tangents
    return weights, weights * (change - (weights * change).sum(-1, keepdims=True))


@jax.custom_jvp
def _product(weights: Float[Array, "*batch S K"], v: Float[Array, "*batch K Dh"]) -> Float[Array, "*batch S Dh"]:
    return jnp.einsum("...sk,...kd->...sd", weights, v, preferred_element_type=v.dtype)


@_product.defjvp
def _product_jvp(primals, tangents):
    (weights, v), (moved, dv) = primals, tangents
    if _small(weights):
        by_key = _held(weights.swapaxes(-1, -2))
        read = jnp.einsum("...ks,...kd->...sd", by_key, dv, preferred_element_type=v.dtype)
    else:
        read = _product(weights, dv)
    return _product(weights, v), _product(moved, v) + read


def _small(weights: Float[Array, "*batch S K"]) -> bool:
    return weights.shape[-1] * weights.shape[-2] <= SMALL


_held = jax.lax.optimization_barrier
"""x, and its gradient, as arrays that exist: of a small one that is read transposed XLA on a CPU makes a copy and a
fast product if the copy is held, and else a slow product of it as it lies."""


def swap(k: Float[Array, "2 *rest"], v: Float[Array, "2 *rest"]) -> tuple[Array, Array]:
    """Each replica reads the other one's keys and values."""
    return k[::-1], v[::-1]


def paired_attention(
    q: Float[Array, "2 *batch S Dh"],
    k: Float[Array, "2 *batch S Dh"],
    v: Float[Array, "2 *batch S Dh"],
    g: Float[Array, "*coupling"] | float,
    attend: Attend = attention,
    exchange: Exchange = swap,
) -> Float[Array, "2 *batch S Dh"]:
    """out_i = (attend(q_i, k_i, v_i) + g attend(q_i, k_j, v_j)) / (1 + g), two separate softmaxes (eq. 18-19).

    g >= 0 is traced: a scalar, or one value per entry of the axes after the pair. Where g = 0 the result is
    `attend(q, k, v)` exactly and nothing, not even a NaN, passes from one replica to the other in either direction:
    the inputs of the cross call are masked, not only its output, because 0 * inf poisons gradients.
    """
    g = jnp.asarray(g, q.dtype)
    g = g.reshape((1, *g.shape, *(1,) * (q.ndim - 1 - g.ndim))) if g.ndim else g
    coupled = g > 0
    k_other, v_other = exchange(k, v)
    own = attend(q, k, v)
    cross = attend(q, jnp.where(coupled, k_other, k), jnp.where(coupled, v_other, v))
    return jnp.where(coupled, (own + g * cross) / (1 + g), own)


def coupled_attention(
    qA: Float[Array, "B H S Dh"],
    kA: Float[Array, "B H S Dh"],
    vA: Float[Array, "B H S Dh"],
    qB: Float[Array, "B H S Dh"],
    kB: Float[Array, "B H S Dh"],
    vB: Float[Array, "B H S Dh"],
    g: Float[Array, "*coupling"] | float,
) -> tuple[Float[Array, "B H S Dh"], Float[Array, "B H S Dh"]]:
    """Attention of the replicas A and B under the coupling g in [0, 1], a scalar or [B] (eq. 19).

    out_A = (att(q_A, k_A, v_A) + g att(q_A, k_B, v_B)) / (1 + g), and the same with A and B exchanged.

    >>> q, k, v = jax.random.normal(jax.random.key(0), (3, 1, 1, 4, 8))
    >>> A, B = replica.coupled_attention(q, k, v, q, k, v, g=0.7)  # a pair of equals stays one
    >>> bool((A == B).all())
    True
    """
    out_a, out_b = paired_attention(jnp.stack([qA, qB]), jnp.stack([kA, kB]), jnp.stack([vA, vB]), g)
    return out_a, out_b
