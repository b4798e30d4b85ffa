"""The diffusion transformer for images: x_t, step and class -> the noise in x_t, alone or as a coupled pair.

Source: DiT, arXiv 2212.09748 (adaLN-Zero); the pair: synchronization_gap_paper, arXiv 2603.20987. The block is that of
``models.dit``. A pair stands in the leading axis of x, [2,B,C,Y,X], and has one step and one class.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from gidd_jax.errors import InputError
from gidd_jax.models.dit import AdaptiveNorm, Block, Linear, TimeEmbedding, parts
from gidd_jax.models.layers import FLOAT32, filled
from gidd_jax.replica import KERNELS, paired_attention
from gidd_jax.types import PRNGKey, Tree

PRESETS = {
    "S": {"layers": 12, "d_model": 384, "heads": 6},
    "B": {"layers": 12, "d_model": 768, "heads": 12},
    "L": {"layers": 24, "d_model": 1024, "heads": 16},
    "XL": {"layers": 28, "d_model": 1152, "heads": 16},
}
"""The sizes of the paper; DiT-XL/2 at 512 pixels is ``DitImageConfig(64, 4, patch=2, classes=1000, **PRESETS["XL"],
learned_variance=True)``."""

Images = Float[Array, "*pair B C Y X"]
Steps = Float[ArrayLike, "*rows"] | Int[ArrayLike, "*rows"]
"""0 ... 999, scalar or [B]."""
Labels = Int[ArrayLike, "*rows2"]
"""Classes, scalar or [B]; ``DitImageConfig.classes`` for none."""
Coupling = Float[ArrayLike, "*coupling"] | None
"""Of a pair: a scalar, [B], or [L,B], [L,1] to couple layers apart; None for one replica alone."""


@dataclasses.dataclass(frozen=True)
class DitImageConfig:
    """Static shape: ``size`` pixels (or latent cells) a side; class ``classes`` is "no class"."""

    size: int
    channels: int = 1
    patch: int = 2
    classes: int = 10
    layers: int = 12
    d_model: int = 384
    heads: int = 6
    learned_variance: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention_kernel: Literal["auto", "einsum", "cudnn"] = "auto"

    def __post_init__(self):
        if min(self.size, self.channels, self.patch, self.classes, self.layers, self.d_model, self.heads) < 1:
            raise InputError("sizes start at 1")
        if self.size % self.patch:
            raise InputError(f"images of {self.size} pixels cannot be cut into patches of {self.patch}")
        if self.d_model % self.heads or self.d_model % 4:
            raise InputError(f"d_model {self.d_model} must be a multiple of heads {self.heads} and of 4")
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(f"dtype must be float32 or bfloat16, not {self.dtype!r}")

    @property
    def side(self) -> int:
        """Patches a side."""
        return self.size // self.patch


norm = partial(AdaptiveNorm, weight=False, eps=1e-6)
"""Adaptive norm without weights of its own."""


class Guess(NamedTuple):
    """The noise in x_t, and the share of its variance that ``diffusion.ddpm_step`` takes (-1: the posterior's)."""

    eps: Float[Array, "*batch C Y X"]
    share: Float[Array, "*batch C Y X"] | float


def positions(side: int, width: int) -> Float[np.ndarray, "S D"]:
    """[sin, cos] of the column, then of the row, each at angles i w_j, w_j = 10000^(-4j/D), j < D/4; [S, D], fixed."""
    frequency = 10_000.0 ** (-np.arange(width // 4) / (width // 4))
    row, column = np.divmod(np.arange(side * side), side)
    angles = [at[:, None] * frequency[None] for at in (column, row)]
    return np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)


def cut(x: Float[Array, "*batch C Y X"], patch: int) -> Float[Array, "*batch S F"]:
    """An image as its patches, row by row, each flattened as (channel, row, column)."""
    *batch, channels, rows, columns = x.shape
    x = x.reshape(*batch, channels, rows // patch, patch, columns // patch, patch)
    x = jnp.moveaxis(x, (-4, -2), (-5, -4))  # [..., Y/p, X/p, C, p, p]
    return x.reshape(*batch, rows * columns // patch**2, channels * patch**2)


def pasted(tokens: Float[Array, "*batch S F"], side: int, patch: int) -> Float[Array, "*batch C Y X"]:
    """Patches back as an image, each flattened as (row, column, channel): DiT's last layer has another order."""
    *batch, _, size = tokens.shape
    x = tokens.reshape(*batch, side, side, patch, patch, size // patch**2)
    x = jnp.moveaxis(x, (-1, -5, -3, -4, -2), (-5, -4, -3, -2, -1))
    return x.reshape(*batch, size // patch**2, side * patch, side * patch)


class _DitImage(nn.Module):
    config: DitImageConfig
    paired: bool

    def setup(self):
        c = self.config
        self.patch, self.time = Linear(c.d_model), TimeEmbedding(c.d_model, last=lambda x: x)
        self.label = self.param("label", nn.initializers.zeros, (c.classes + 1, c.d_model))
        attend = KERNELS[c.attention_kernel]
        attend = partial(paired_attention, attend=attend) if self.paired else attend
        self.blocks = Block(c.heads, jnp.dtype(c.dtype), attend=attend, norm=norm, bias=True)
        self.modulation, self.norm = Linear(2 * c.d_model), norm()
        self.head = Linear(c.patch**2 * c.channels * (2 if c.learned_variance else 1))

    def __call__(self, x, t_B, label_B, g_LxB, watch, beside):
        c = self.config
        condition = self.conditioned(t_B, label_B)
        condition = condition.reshape((1,) * (x.ndim - 4) + condition.shape)
        tokens = self.embedded(x)

        def layer(block, tokens, condition, g_B, beside):
            tokens = block(tokens, condition, *(() if g_B is None else (g_B,)))
            return tokens, watch(tokens, beside)

        layers = nn.scan(
            layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, 0, 0),
            length=c.layers,
        )
        tokens, seen = layers(self.blocks, tokens, condition, g_LxB, beside)
        return pasted(self.head(self.norm(tokens, *parts(self.modulation(condition), 2))), c.side, c.patch), seen

    def embedded(self, x):
        c = self.config
        fixed = jnp.asarray(positions(c.side, c.d_model), FLOAT32).reshape((1,) * (x.ndim - 3) + (-1, c.d_model))
        return self.patch(cut(x, c.patch)) + fixed

    def conditioned(self, t_B, label_B):
        return jax.nn.silu(self.time(t_B) + self.label[label_B])


@lru_cache(maxsize=64)
def shapes(config: DitImageConfig) -> Tree:
    """The parameters as `jax.ShapeDtypeStruct`s: only their names and shapes are meant."""
    x, one = jnp.zeros((1, config.channels, config.size, config.size)), jnp.zeros(1)
    model = _DitImage(config, paired=False)
    run = partial(model.init, jax.random.key(0), watch=lambda tokens, _: None)
    return jax.eval_shape(lambda: run(x, one, jnp.zeros(1, jnp.int32), None, beside=None))["params"]


def init(key: PRNGKey, config: DitImageConfig) -> Tree:
    """Random parameters, those of the layers stacked; the key is consumed. As the authors': adaLN-Zero.

    Modulations and head are 0, so that every block starts as the identity; biases 0; classes and the time embedding
    normal of deviation .02; all other kernels uniform in +-sqrt(6 / (fan_in + fan_out)).
    """

    def fill(path: tuple[str, ...], draw: Array) -> Array:
        if "modulation" in path or "head" in path or path[-1] == "bias":
            return jnp.zeros_like(draw)
        if path[0] in ("label", "time"):  # Kept off -1, where erf_inv is infinite.
            return 0.02 * math.sqrt(2) * jax.lax.erf_inv(draw * (1 - 2**-20))
        return draw * math.sqrt(6 / sum(draw.shape[-2:]))

    return filled(key, shapes(config), fill)


def apply(params: Tree, config: DitImageConfig, x: Images, t: Steps, label: Labels, g: Coupling = None) -> Guess:
    """The noise in x, float32. t: step 0 ... 999, scalar or [B]; label: class, ``config.classes`` for none.

    With g, x is a pair [2,B,C,Y,X] that reads each other's keys and values (``replica.paired_attention``): traced, a
    scalar, [B], or [L,B], [L,1] to couple layers apart. Where g = 0 that is the model without g, bit for bit.
    """
    return watched(params, config, x, t, label, g)[0]


def watched(
    params: Tree,
    config: DitImageConfig,
    x: Images,
    t: Steps,
    label: Labels,
    g: Coupling = None,
    watch: Callable[[Array, Tree], Tree] = lambda tokens, _: None,
    beside: Tree = None,
) -> tuple[Guess, Tree]:
    """``apply``, and what ``watch(tokens [...,S,D], beside_l)`` makes of the state after each layer, stacked over L.

    ``beside`` has a leading axis of layers. Only what ``watch`` returns is kept: the states themselves, or statistics.
    Raises InputError for an x of other size, or a g without a pair.
    """
    if x.shape[-3:] != (config.channels, config.size, config.size):
        raise InputError(f"this model is for images {(config.channels, config.size, config.size)}, not {x.shape[-3:]}")
    if g is not None and (x.ndim != 5 or x.shape[0] != 2):
        raise InputError(f"a coupling needs a pair [2,B,C,Y,X], not {x.shape}")
    batch = x.shape[-4]
    t, label = (jnp.broadcast_to(jnp.asarray(value), (batch,)) for value in (t, label))
    g_LxB = None if g is None else jnp.broadcast_to(jnp.asarray(g, FLOAT32), (config.layers, batch))
    model = _DitImage(config, paired=g is not None)
    out, seen = model.apply({"params": params}, x, t.astype(FLOAT32), label, g_LxB, watch, beside)
    if not config.learned_variance:
        return Guess(out, -1.0), seen
    return Guess(*jnp.split(out, 2, axis=-3)), seen


def embedded(params: Tree, config: DitImageConfig, x: Images) -> Float[Array, "*pair B S D"]:
    """The tokens that the first layer reads; one is linear in the pixels of its patch."""
    return _DitImage(config, False).apply({"params": params}, x, method="embedded")


def conditioned(params: Tree, config: DitImageConfig, t: Steps, label: Labels, batch: int) -> Float[Array, "B D"]:
    """silu(step + class), what every block's shifts, scales and gates are linear in."""
    t, label = (jnp.broadcast_to(jnp.asarray(value), (batch,)) for value in (t, label))
    return _DitImage(config, False).apply({"params": params}, t.astype(FLOAT32), label, method="conditioned")


def guided(
    params: Tree,
    config: DitImageConfig,
    x: Images,
    t: Steps,
    label: Labels,
    scale: Float[ArrayLike, ""] | int,
    g: Coupling = None,
) -> Guess:
    """Classifier-free guidance: eps = eps_none + scale (eps_label - eps_none), in one call of twice the batch.

    Rows with and without the class each form their own pair. All channels are guided. Source: arXiv 2207.12598.
    """
    batch = x.shape[-4]
    label = jnp.broadcast_to(jnp.asarray(label), (batch,))
    both = jnp.concatenate([label, jnp.full_like(label, config.classes)])
    t = jnp.tile(jnp.broadcast_to(jnp.asarray(t), (batch,)), 2)
    g = None if g is None else jnp.tile(jnp.broadcast_to(jnp.asarray(g, FLOAT32), (config.layers, batch)), (1, 2))
    found = apply(params, config, jnp.concatenate([x, x], axis=-4), t, both, g)
    with_class, without = jnp.split(found.eps, 2, axis=-4)
    share = jnp.split(found.share, 2, axis=-4)[0] if config.learned_variance else found.share
    return Guess(without + scale * (with_class - without), share)


def shut(gate: int, block: Tree) -> Tree:
    """The parameters of a block (or of stacked ones) with gate 0, of attention, or gate 1, of the MLP, at 0.

    What is left is h + the other half, so that each half can be differentiated by itself.
    """
    modulation = {}
    for name, value in block["modulation"].items():
        width = value.shape[-1] // 6
        index = jnp.arange(value.shape[-1]) // width
        closed = jnp.broadcast_to(index == 2 + 3 * gate, value.shape)
        modulation[name] = jnp.where(closed, 0.0, value)
    return block | {"modulation": modulation}


def parameter_count(config: DitImageConfig) -> int:
    """Number of scalars in the parameters; the table of positions is none."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(config)))
