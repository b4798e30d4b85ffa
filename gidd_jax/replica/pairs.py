"""Pairs of images: how two replicas start, how far apart they are at two scales, and a force that pulls them together.

Source: synchronization_gap_paper (arXiv 2603.20987), equations 4-5, 67-69 and 71-72.
"""

import operator
from functools import lru_cache
from typing import SupportsIndex

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from gidd_jax.diffusion import trailing
from gidd_jax.errors import InputError


def initial_pair(
    z: Float[ArrayLike, "*shape"], delta: Float[ArrayLike, "*shape"], sigma: Float[ArrayLike, ""] | int
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """A, B = (z +- sigma delta) / sqrt(1 + sigma^2) of normal z and delta (67-68): each is normal again.

    sigma = 0: the same start; 1: independent ones (``pair_correlation``). The paper never says its sigma.

    >>> A, B = replica.initial_pair(jnp.array([1.0]), jnp.array([0.5]), sigma=0.0)
    >>> A.tolist(), B.tolist()
    ([1.0], [1.0])
    """
    z, delta = jnp.asarray(z), jnp.asarray(delta)
    root = jnp.sqrt(1 + jnp.square(jnp.asarray(sigma, z.dtype)))
    return (z + sigma * delta) / root, (z - sigma * delta) / root


def pair_correlation(sigma: Float[ArrayLike, "*shape"] | int) -> Float[Array, "*shape"]:
    """Correlation of the two starts, (1 - sigma^2) / (1 + sigma^2) (69)."""
    square = jnp.square(jnp.asarray(sigma, jnp.result_type(float, sigma)))
    return (1 - square) / (1 + square)


def restore(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"], strength: Float[ArrayLike, "*coupling"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """A, B -+ strength (A - B), the coupling of eq. 4-5 over one step: strength = g beta dt, below 1/2.

    Unlike coupled attention it always brings the replicas nearer: A - B shrinks by 1 - 2 strength, A + B stays.
    strength: a scalar, or one value per entry of the leading axes.
    """
    pull = trailing(jnp.asarray(strength, a.dtype), a.ndim) * (a - b)
    return a - pull, b + pull


def scale_discrepancy(
    xA: Float[ArrayLike, "*batch C Y X"], xB: Float[ArrayLike, "*batch C Y X"], pool: SupportsIndex
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """How far apart two images are, coarse and fine (71-72): |P d|^2 and |d - U P d|^2, d = xA - xB.

    P averages into pool x pool cells (``pooled``), U brings them back to the size of the image (``enlarged``); both
    sums run over channels and cells. Raises InputError unless 1 <= pool.

    >>> one, other = jnp.ones((1, 4, 4)), jnp.zeros((1, 4, 4))
    >>> low, high = replica.scale_discrepancy(one, other, pool=2)  # all of it coarse
    >>> float(low), float(high)
    (4.0, 0.0)
    """
    difference = jnp.asarray(xA) - jnp.asarray(xB)
    coarse = pooled(difference, pool)
    fine = difference - enlarged(coarse, *difference.shape[-2:])
    return jnp.square(coarse).sum((-3, -2, -1)), jnp.square(fine).sum((-3, -2, -1))


def pooled(x: Float[ArrayLike, "*batch Y X"], cells: SupportsIndex) -> Float[Array, "*batch P P"]:
    """Means over cells x cells boxes, from floor(i n / cells) to ceil((i + 1) n / cells): they overlap where n / cells
    is no whole number (adaptive average pooling)."""
    x = jnp.asarray(x)
    return _apply(x, *(_averages(size, operator.index(cells)) for size in x.shape[-2:]))


def enlarged(x: Float[ArrayLike, "*batch P Q"], height: int, width: int) -> Float[Array, "*batch Y X"]:
    """Bilinear, pixel i of n read at (i + 1/2) p / n - 1/2 of the p there were, held inside; nothing is smoothed."""
    x = jnp.asarray(x)
    return _apply(x, *(_weights(old, new) for old, new in zip(x.shape[-2:], (height, width), strict=True)))


def _apply(x: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    rows, columns = (jnp.asarray(matrix, x.dtype) for matrix in (rows, columns))
    return jnp.einsum("...yx,py,qx->...pq", x, rows, columns, precision="highest")


@lru_cache(maxsize=64)
def _averages(size: int, cells: int) -> np.ndarray:
    if cells < 1:
        raise InputError(f"pool {cells}: an image has at least one cell")
    edges = np.arange(cells + 1) * size
    first, last = edges[:-1] // cells, -(-edges[1:] // cells)
    inside = (np.arange(size) >= first[:, None]) & (np.arange(size) < last[:, None])
    return inside / inside.sum(1, keepdims=True)


@lru_cache(maxsize=64)
def _weights(old: int, new: int) -> np.ndarray:
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)[None]))
