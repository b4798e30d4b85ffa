"""Pairs of replicas from noise to data: coupled for a while and then apart, or coupled all along and watched.

Source: synchronization_gap_paper (arXiv 2603.20987), protocols I and II. All intervention times, couplings and controls
are rows of one compiled step; what one seed draws does not depend on how many rows there are.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from gidd_jax import diffusion, replica
from gidd_jax.types import PRNGKey, Tree

PairDenoise = Callable[[Array, Array, Array], Array]
"""(x [2,B,C,Y,X], step, coupling [B] or [L,B]) -> the noise in x."""

Watched = Callable[[Array, Array, Callable, Array | None], tuple[Array, Array]]
"""(x [2,M,C,Y,X], step, watch(tokens, beside_l), beside [L,...]) -> (the noise in x, what was seen [L,...])."""


class Path(NamedTuple):
    """The steps of a sampler, from noise to data: times [S], abar before and after each [S] (after the last: 1)."""

    times: Int[Array, "S"]
    abar: Float[Array, "S"]
    abar_next: Float[Array, "S"]


class Branches(NamedTuple):
    """What each of J rows does for its first ``until`` steps; afterwards the replicas are apart, with own noise."""

    until: Int[Array, "J"]
    g: Float[Array, "J *L"]
    """Coupling of attention, of all layers or of each."""
    shared: Bool[Array, "J"]
    """Whether both replicas get the same noise."""
    pull: Float[Array, "J"]
    """Restoring force on the images themselves, in units of 1 / (beta t); 0 for the paper's protocol."""


class Watch(NamedTuple):
    """Of the differences V = (A - B)/sqrt(2) after each layer, M seeds: all that mode energies need, S x L x M x M."""

    grams: Float[Array, "S L M M"]
    """V_s V_0^T."""
    bands: Float[Array, "S L 2 M"]
    """Energy of V_s in the lowest and the highest third of the two-dimensional cosine modes over tokens."""


def path(sections: str) -> Path:
    """Every step of ``diffusion.respaced(sections)``."""
    times = diffusion.respaced(sections)[::-1]
    abar = diffusion.linear_abar()[times]
    after = np.append(abar[1:], 1.0)
    return Path(jnp.asarray(times), jnp.asarray(abar, jnp.float32), jnp.asarray(after, jnp.float32))


def branches(until: Array, g: Float[ArrayLike, "*L"], shared: bool = False, pull: float = 0.0) -> Branches:
    """Rows that differ in ``until`` alone. g: of all layers, or of each."""
    until = jnp.asarray(until)
    same = lambda value, dtype: jnp.full((*until.shape, *jnp.shape(value)), value, dtype)  # noqa: E731
    return Branches(until, same(g, jnp.float32), same(shared, bool), same(pull, jnp.float32))


def start(key: PRNGKey, shape: tuple[int, ...], sigma: Float[Array, ""] | float) -> Float[Array, "2 M C Y X"]:
    """Pairs of starts [2, M, C, Y, X] that differ by sigma (``replica.initial_pair``); the key is consumed."""
    z_key, delta_key = jax.random.split(key)
    pair = replica.initial_pair(jax.random.normal(z_key, shape), jax.random.normal(delta_key, shape), sigma)
    return jnp.stack(pair)


def forked(
    key: PRNGKey,
    denoise: PairDenoise,
    first: Float[Array, "2 M C Y X"],
    path: Path,
    rows: Branches,
    eta: Float[Array, ""] | float = 1.0,
) -> Float[Array, "J 2 M C Y X"]:
    """Protocol I: the images of every row, all rows from the same starts and the same draws of noise.

    The noise of step s comes from ``fold_in(key, s)`` whatever the rows. J M pairs are one batch of ``denoise``.
    """
    J, M = len(rows.until), first.shape[1]
    image = first.shape[2:]
    per_row = lambda x: x.reshape(J, *(1,) * (first.ndim))  # noqa: E731

    def step(x: Array, s: Array) -> tuple[Array, None]:
        together = s < rows.until
        g = jnp.repeat(jnp.where(diffusion.trailing(together, rows.g.ndim), rows.g, 0.0), M, axis=0).T
        flat = jnp.moveaxis(x, 0, 1).reshape(2, J * M, *image)
        eps = jnp.moveaxis(denoise(flat, path.times[s], g).reshape(2, J, M, *image), 0, 1)
        common, own = jax.random.split(jax.random.fold_in(key, s))
        noise = jnp.where(
            per_row(together & rows.shared),
            jax.random.normal(common, (1, 1, M, *image)),
            jax.random.normal(own, (1, 2, M, *image)),
        )
        now, then = path.abar[s], path.abar_next[s]
        x = diffusion.ddim_step(x, eps, noise, now, then, eta)
        force = jnp.where(together, jnp.minimum(rows.pull * (1 - now / then), 0.5), 0.0)
        return jnp.stack(replica.restore(x[:, 0], x[:, 1], force), axis=1), None

    x = jnp.broadcast_to(first, (J, *first.shape))
    return jax.lax.scan(step, x, jnp.arange(len(path.times)))[0]


def in_turn(denoise: PairDenoise, pairs: int) -> PairDenoise:
    """The same, so many pairs at a time, which must divide the batch: for models whose batch would not fit."""

    def one_by_one(x: Array, t: Array, g: Array) -> Array:
        parts = jnp.moveaxis(x.reshape(2, -1, pairs, *x.shape[2:]), 1, 0)
        couplings = jnp.moveaxis(g.reshape(*g.shape[:-1], -1, pairs), -2, 0)
        eps = jax.lax.map(lambda part: denoise(part[0], t, part[1]), (parts, couplings))
        return jnp.moveaxis(eps, 0, 1).reshape(x.shape)

    return one_by_one


def watched(denoise: Watched, first: Float[Array, "2 M C Y X"], path: Path) -> Watch:
    """Protocol II: without noise (eta = 0) along the path, the differences after each layer at every step.

    Only the state of step 0 is kept, L x M x S x D. ``denoise`` holds the coupling.
    """
    with jax.default_matmul_precision("highest"):
        _, origin = denoise(first, path.times[0], difference, None)
    return Watch(*followed(denoise, first, path, energies, origin)[0])


def followed(
    denoise: Watched,
    first: Float[Array, "2 M C Y X"],
    path: Path,
    watch: Callable[[Array, Tree], Tree],
    beside: Tree,
    aside: Callable[[Array], Tree] = lambda x: None,
) -> tuple[Tree, Tree]:
    """The path without noise: what ``watch`` makes of states after each layer [S,L,...], ``aside`` of images [S,...].

    At full precision: as replicas draw together the difference of two nearly equal numbers is all there is.
    """

    def step(x: Array, s: Array) -> tuple[Array, tuple[Tree, Tree]]:
        eps, found = denoise(x, path.times[s], watch, beside)
        then = diffusion.ddim_step(x, eps, jnp.zeros_like(x), path.abar[s], path.abar_next[s], 0.0)
        return then, (found, aside(x))

    with jax.default_matmul_precision("highest"):
        return jax.lax.scan(step, first, jnp.arange(len(path.times)))[1]


def difference(tokens: Float[Array, "2 M S D"], _: Tree = None) -> Float[Array, "M S D"]:
    """(A - B) / sqrt(2)."""
    return (tokens[0] - tokens[1]) / 2**0.5


def energies(tokens: Float[Array, "2 M S D"], origin: Float[Array, "M S D"]) -> tuple[Array, Array]:
    """The fields of ``Watch``, of one layer and step, from the difference of step 0."""
    V = difference(tokens)
    return jnp.einsum("msd,nsd->mn", V, origin, precision="highest"), cosine_bands(V)


def cosine_bands(V: Float[Array, "M S D"]) -> Float[Array, "2 M"]:
    """Energy of V, tokens on a square, in the lowest and the highest third of its cosine modes (by kx^2 + ky^2)."""
    transform, lowest, highest = _cosines(round(V.shape[1] ** 0.5))
    modes = jnp.einsum("ks,msd->mkd", jnp.asarray(transform, V.dtype), V, precision="highest")
    energy = jnp.square(modes).sum(-1)
    return jnp.stack([energy[:, lowest].sum(-1), energy[:, highest].sum(-1)])


@lru_cache(maxsize=16)
def _cosines(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthonormal two-dimensional cosine modes [K, S], the lowest third of K, the highest third."""
    k = np.arange(side)
    line = np.sqrt(2 / side) * np.cos(np.pi * (k[None] + 0.5) * k[:, None] / side)
    line[0] /= np.sqrt(2)
    order = np.argsort((k[:, None] ** 2 + k[None] ** 2).reshape(-1), kind="stable")
    third = max(1, len(order) // 3)
    return np.kron(line, line), order[:third], order[-third:]
