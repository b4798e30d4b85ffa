"""Order parameters that need arrays on the device: how alike two representations, or two gradients, are."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gidd_jax.types import Mean, Tree


def cka(x: Float[Array, "N D"], y: Float[Array, "N E"]) -> Mean:
    """Linear centred kernel alignment ||Xc^T Yc||_F^2 / (||Xc^T Xc||_F ||Yc^T Yc||_F), in [0, 1].

    1: the same representation up to rotation and scale; nothing is counted where one of them is constant.
    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, eq. 4 with linear kernels.
    """
    x, y = x - x.mean(axis=0, keepdims=True), y - y.mean(axis=0, keepdims=True)
    norm = lambda a, b: jnp.sqrt(jnp.sum(jnp.matmul(a.T, b) ** 2))  # noqa: E731
    return _ratio(norm(x, y) ** 2, norm(x, x) * norm(y, y))


def cosine(a: Tree, b: Tree) -> Mean:
    """Cosine of the angle between two trees of one structure, taken as vectors; nothing counted where one is 0."""
    dot = lambda x, y: sum(jnp.vdot(u, v) for u, v in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))  # noqa: E731
    return _ratio(dot(a, b), jnp.sqrt(dot(a, a)) * jnp.sqrt(dot(b, b)))


def _ratio(numerator: jax.Array, denominator: jax.Array) -> Mean:
    defined = denominator > 0
    return Mean(jnp.where(defined, numerator / jnp.where(defined, denominator, 1.0), 0.0), defined.astype(jnp.float32))
