"""The trained model as the protocols ask for it, and what is measured on the pairs of images it makes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gidd_jax import diffusion, replica
from gidd_jax.models import dit_image, encoder
from gidd_jax.sampling.replicas import PairDenoise, Watched
from gidd_jax.types import PRNGKey, Tree

CENTRED_OVER = 1024


class Alike(NamedTuple):
    """Of pairs of images, [..., M]."""

    feature_cosine: Float[Array, "*rows M"]
    """Cosine of their centred features."""
    coarse: Float[Array, "*rows M"]
    """|P d|^2 of the difference d (``replica.scale_discrepancy``)."""
    fine: Float[Array, "*rows M"]
    """|d - U P d|^2."""


def pair_denoise(params: Tree, shape: dit_image.DitImageConfig, label: Array | int) -> PairDenoise:
    """The model for pairs of one class, with a coupling a row."""
    return lambda x, t, g: dit_image.apply(params, shape, x, t, label, g).eps


def watched_denoise(
    params: Tree, shape: dit_image.DitImageConfig, label: Array | int, g: Float[Array, "*coupling"] | float
) -> Watched:
    """The model for pairs of one class under one coupling, which may differ by layer, its states watched."""

    def denoise(x: Array, t: Array, watch: Callable, beside: Tree) -> tuple[Array, Tree]:
        guess, seen = dit_image.watched(params, shape, x, t, label, g, watch, beside)
        return guess.eps, seen

    return denoise


def alike(
    look: Callable[[Array], Array], one: Float[Array, "*rows M C Y X"], other: Float[Array, "*rows M C Y X"], pool: int
) -> Alike:
    """How alike pairs of images are; ``look``: images -> features [..., F], centred."""
    a, b = look(one), look(other)
    length = jnp.sqrt(jnp.square(a).sum(-1) * jnp.square(b).sum(-1))
    cosine = (a * b).sum(-1) / jnp.where(length > 0, length, jnp.nan)
    return Alike(cosine, *replica.scale_discrepancy(one, other, pool))


def centred_features(params: Tree, data: Tree) -> Callable[[Array], Array]:
    """Images -> the encoder's features less their mean over the first training images. params: of the encoder."""
    centre = encoder.features(params, data["train"][:CENTRED_OVER]).mean(0)

    def look(x: Array) -> Array:
        return encoder.features(params, x) - centre.reshape((1,) * (x.ndim - 3) + (-1,))

    return look


def strangers(images: Float[Array, "J 2 M C Y X"]) -> tuple[Array, Array]:
    """Independent pairs of the same rows: replica A of a seed with replica B of the one before."""
    return images[:, 0], jnp.roll(images[:, 1], 1, axis=1)


def noise_error(
    key: PRNGKey, params: Tree, shape: dit_image.DitImageConfig, x: jax.Array, label: jax.Array
) -> jax.Array:
    """Squared error of the noise, a mean over pixels, of each image [B] at a random step; the key is consumed."""
    t_key, eps_key = jax.random.split(key)
    t = jax.random.randint(t_key, label.shape, 0, diffusion.STEPS)
    abar = jnp.asarray(diffusion.linear_abar(), jnp.float32)[t]
    eps = jax.random.normal(eps_key, x.shape)
    guess = dit_image.apply(params, shape, diffusion.noised(x, eps, abar), t, label).eps
    return jnp.square(guess - eps).mean((1, 2, 3))
