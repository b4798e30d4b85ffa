"""A small classifier of images whose last hidden layer serves as features: pixels -> features, logits."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gidd_jax.models.layers import FLOAT32, filled
from gidd_jax.types import PRNGKey, Tree


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Static shape: C x Y x X numbers an image, two hidden layers."""

    pixels: int
    classes: int
    hidden: int = 256
    features: int = 64


def init(key: PRNGKey, config: EncoderConfig) -> Tree:
    """Kernels uniform in +-sqrt(6 / fan_in), biases 0; the key is consumed."""
    sizes = (config.pixels, config.hidden, config.features, config.classes)
    shapes = {
        name: {"kernel": jax.ShapeDtypeStruct((n, m), FLOAT32), "bias": jax.ShapeDtypeStruct((m,), FLOAT32)}
        for name, n, m in zip(("up", "features", "head"), sizes, sizes[1:], strict=False)
    }
    return filled(
        key,
        shapes,
        lambda path, draw: jnp.zeros_like(draw) if path[-1] == "bias" else draw * math.sqrt(6 / draw.shape[0]),
    )


def features(params: Tree, x: Float[Array, "*batch C Y X"]) -> Float[Array, "*batch F"]:
    """relu(W_2 relu(W_1 x + b_1) + b_2). To be centred before a cosine: all entries are positive."""
    x = x.reshape(*x.shape[:-3], -1)
    for name in ("up", "features"):
        x = jax.nn.relu(_linear(params[name], x))
    return x


def logits(params: Tree, x: Float[Array, "*batch C Y X"]) -> Float[Array, "*batch V"]:
    """Logits of the classes."""
    return _linear(params["head"], features(params, x))


def _linear(layer: Tree, x: Array) -> Array:
    bias = layer["bias"].reshape((1,) * (x.ndim - 1) + (-1,))
    return jnp.einsum("...d,df->...f", x, layer["kernel"]) + bias
