"""The diffusion transformer of GIDD for text: tokens and time -> logits. Source: arXiv 2503.04482, its authors' code.

The layers are stacked and scanned: the program, and the time to compile it, do not grow with depth. `Block` takes any
tokens and any conditioning vector, so that models of other data can be made of it. Flax stays behind `init`/`apply`.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from gidd_jax.errors import InputError
from gidd_jax.models.layers import FLOAT32, filled, line_angles, product, rotate, standardise
from gidd_jax.replica import KERNELS, attention
from gidd_jax.types import PRNGKey, Times, Tree

WAVES = 256
"""Width of the sinusoidal embedding of time."""

PRESETS = {
    "tiny": {"layers": 8, "d_model": 512, "heads": 8},
    "small": {"layers": 12, "d_model": 768, "heads": 12},
    "base": {"layers": 24, "d_model": 1024, "heads": 16},
}
"""The sizes of the paper: ``DitConfig(vocab_size=50259, **PRESETS["small"])``."""


@dataclasses.dataclass(frozen=True)
class DitConfig:
    """Static shape of the model; another config is another compile.

    `padded_vocab` is the width of embedding and logits; 0 becomes `vocab_size` rounded up to a multiple of 128. Without
    `time` the model never sees t, and the conditioning vector is a learned constant.
    """

    vocab_size: int
    layers: int = 12
    d_model: int = 768
    heads: int = 12
    cond: int = 128
    max_length: int = 512
    padded_vocab: int = 0
    time: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention_kernel: Literal["auto", "einsum", "cudnn"] = "auto"

    def __post_init__(self):
        if not self.padded_vocab:
            object.__setattr__(self, "padded_vocab", -(-self.vocab_size // 128) * 128)
        if min(self.vocab_size, self.layers, self.d_model, self.heads, self.cond, self.max_length) < 1:
            raise InputError("sizes start at 1")
        if self.d_model % (2 * self.heads):
            raise InputError(f"d_model {self.d_model} must be a multiple of 2 x heads {self.heads}")
        if self.padded_vocab < self.vocab_size:
            raise InputError(f"padded_vocab {self.padded_vocab} is narrower than the {self.vocab_size} tokens")
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(f"dtype must be float32 or bfloat16, not {self.dtype!r}")


_shape_only = nn.initializers.zeros


class Linear(nn.Module):
    """y = x W + b in float32; operands are rounded to `dtype`, and so is the product unless `exact`."""

    features: int
    dtype: jnp.dtype = FLOAT32
    bias: bool = True
    exact: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch F"]:
        kernel_DxF = self.param("kernel", _shape_only, (x.shape[-1], self.features))
        if self.exact:
            y = jnp.matmul(x.astype(self.dtype), kernel_DxF.astype(self.dtype), preferred_element_type=FLOAT32)
        else:
            y = product("...d,df->...f", x, kernel_DxF, self.dtype)
        return y + jnp.broadcast_to(self.param("bias", _shape_only, (self.features,)), y.shape) if self.bias else y


class AdaptiveNorm(nn.Module):
    """LN(x) w (1 + scale) + shift: one weight w for all, or none; shift and scale for each example."""

    weight: bool = True
    eps: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch S D"], shift: Float[Array, "*#batch 1 D"], scale: Float[Array, "*#batch 1 D"]
    ) -> Float[Array, "*batch S D"]:
        normal = standardise(x, self.eps)
        if self.weight:
            normal = normal * jnp.broadcast_to(self.param("scale", _shape_only, (x.shape[-1],)), x.shape)
        return normal * (1 + scale) + shift


def parts(modulation: Float[Array, "*batch F"], count: int) -> list[Float[Array, "*batch 1 D"]]:
    """The shifts, scales and gates that lie side by side in a modulation, each [...,1,D]."""
    return jnp.split(modulation[..., None, :], count, axis=-1)


class Block(nn.Module):
    """One layer: x += gate_1 W_o attend(W_qkv n_1), then x += gate_2 (W_2 gelu_tanh(W_1 n_2 + b_1) + b_2).

    n_1 and n_2 are adaptive norms of x; their shifts and scales and the gates are linear in c, which may have axes of
    length 1 where the batch is longer. `bias` adds one to W_qkv and W_o.
    `rotary` turns queries and keys. `attend(q, k, v, *couplings)` mixes [...,H,S,Dh], by default plain bidirectional
    attention without a mask; `replica.paired_attention` couples two streams that stand first in the batch axes.
    """

    heads: int
    dtype: jnp.dtype = FLOAT32
    rotary: Callable[[Array], Array] | None = None
    attend: Callable[..., Array] = attention
    norm: Callable[..., nn.Module] = AdaptiveNorm
    bias: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch S D"], c: Float[Array, "*#batch C"], *couplings: Array
    ) -> Float[Array, "*batch S D"]:
        *batch, length, width = x.shape
        linear = partial(Linear, dtype=self.dtype)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = parts(Linear(6 * width, name="modulation")(c), 6)
        qkv = linear(3 * width, bias=self.bias, name="qkv")(self.norm(name="norm_attention")(x, shift_1, scale_1))
        qkv = qkv.reshape(*batch, length, 3, self.heads, width // self.heads)
        q, k, v = jnp.moveaxis(jnp.swapaxes(qkv, -4, -2), -3, 0)  # each [...,H,S,D/H]
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        mixed = self.attend(q.astype(self.dtype), k.astype(self.dtype), v.astype(self.dtype), *couplings)
        mixed = jnp.swapaxes(mixed, -2, -3).reshape(x.shape)
        x = x + gate_1 * linear(width, bias=self.bias, name="out")(mixed)
        hidden = linear(4 * width, name="up")(self.norm(name="norm_feed")(x, shift_2, scale_2))
        return x + gate_2 * linear(width, name="down")(jax.nn.gelu(hidden, approximate=True))


def turn(x: Float[Array, "*batch S Dh"]) -> Float[Array, "*batch S Dh"]:
    """Rotary positions 0, 1, ... S-1 on a line."""
    return rotate(x, line_angles(*x.shape[-2:]))


def time_waves(t_B: Float[Array, "B"]) -> Float[Array, "B W"]:
    """[cos(t w_i), sin(t w_i)], w_i = 10000^(-i/128), i < 128, with t as it is."""
    half = WAVES // 2
    frequency_P = jnp.exp(-math.log(10_000) * jnp.arange(half, dtype=FLOAT32) / half)
    angle_BxP = t_B.astype(FLOAT32)[:, None] * frequency_P[None, :]
    return jnp.concatenate([jnp.cos(angle_BxP), jnp.sin(angle_BxP)], axis=1)


class TimeEmbedding(nn.Module):
    """c = last(W_2 silu(W_1 waves(t) + b_1) + b_2), [B] -> [B,C]; in float32 whatever the model's dtype."""

    cond: int
    last: Callable[[Array], Array] = jax.nn.silu

    @nn.compact
    def __call__(self, t_B: Float[Array, "B"]) -> Float[Array, "B C"]:
        hidden_BxC = jax.nn.silu(Linear(self.cond, name="in")(time_waves(t_B)))
        return self.last(Linear(self.cond, name="out")(hidden_BxC))


class _Dit(nn.Module):
    config: DitConfig

    def setup(self):
        c = self.config
        dtype = jnp.dtype(c.dtype)
        self.token = self.param("token", _shape_only, (c.padded_vocab, c.d_model))
        if c.time:
            self.time = TimeEmbedding(c.cond)
        else:
            self.condition = self.param("condition", _shape_only, (c.cond,))
        self.blocks = Block(c.heads, dtype, turn, KERNELS[c.attention_kernel])
        self.modulation, self.norm = Linear(2 * c.d_model), AdaptiveNorm()
        self.head = Linear(c.padded_vocab, dtype, exact=True)

    def __call__(self, ids_BxS: Array, t_B: Array) -> Array:
        return self.head(self.features(ids_BxS, t_B))

    def features(self, ids_BxS: Array, t_B: Array) -> Array:
        x_BxSxD, c_BxC = self.stem(ids_BxS, t_B)
        x_BxSxD, _ = self.layers(lambda block, x, c: (block(x, c), None), nn.broadcast)(self.blocks, x_BxSxD, c_BxC)
        return self.norm(x_BxSxD, *parts(self.modulation(c_BxC), 2))

    def hooked(self, ids_BxS: Array, t_B: Array, layer: int, hook: Callable) -> tuple[Array, Tree]:
        x_BxSxD, c_BxC = self.stem(ids_BxS, t_B)
        told = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(hook, x_BxSxD)[1])

        # One scan with a branch in it: of two scans XLA writes out those of one layer, and a model of two layers then
        # takes a third longer.
        def one(block, state, i, c_BxC):
            x_BxSxD, told = state
            return jax.lax.cond(i + 1 == layer, hook, lambda x: (x, told), block(x_BxSxD, c_BxC)), None

        start, numbers = (x_BxSxD, told), jnp.arange(self.config.layers)
        (x_BxSxD, told), _ = self.layers(one, (0, nn.broadcast))(self.blocks, start, numbers, c_BxC)
        return self.head(self.norm(x_BxSxD, *parts(self.modulation(c_BxC), 2))), told

    def stem(self, ids_BxS: Array, t_B: Array) -> tuple[Array, Array]:
        c_BxC = self.time(t_B) if self.config.time else jnp.broadcast_to(self.condition, (len(t_B), self.config.cond))
        return self.token[ids_BxS], c_BxC

    def layers(self, one: Callable, in_axes: Any) -> Callable:
        return nn.scan(
            one,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=in_axes,
            length=self.config.layers,
        )


@lru_cache(maxsize=64)
def shapes(config: DitConfig) -> Tree:
    """The parameters as `jax.ShapeDtypeStruct`s: only their names and shapes are meant."""
    run = partial(_Dit(config).init, jax.random.key(0))
    return jax.eval_shape(run, jnp.zeros((1, 1), jnp.int32), jnp.zeros(1))["params"]


def parameter_count(config: DitConfig) -> int:
    """Number of scalars in the parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(config)))


def init(key: PRNGKey, config: DitConfig) -> Tree:
    """Random parameters, a nested dict of float32 arrays, those of the layers stacked; the key is consumed.

    As the authors': modulations and head are 0, norm weights 1, all else uniform in +-1/sqrt(fan_in); a bias takes the
    fan_in of its kernel, the embedding D. The constant conditioning of a model without time is 1/sqrt(C) everywhere.
    """
    wanted = shapes(config)

    def fill(path: tuple[str, ...], draw: Array) -> Array:
        if "modulation" in path or "head" in path:
            return jnp.zeros_like(draw)
        if path[-1] == "scale":
            return jnp.ones_like(draw)
        if path[-1] == "condition":
            return jnp.full_like(draw, config.cond**-0.5)
        if path[-1] == "token":
            return draw / math.sqrt(config.d_model)
        beside = wanted
        for name in path[:-1]:
            beside = beside[name]
        return draw / math.sqrt(beside["kernel"].shape[-2])

    return filled(key, wanted, fill)


def apply(params: Tree, config: DitConfig, ids: Integer[Array, "B S"], t: Times) -> Float[Array, "B S V"]:
    """Logits of the clean tokens, [B,S,padded_vocab] float32, one replica, one batch.

    ids: noised tokens, S <= max_length. t: scalar or [B] in [0, 1], not read without config.time. Every cell attends to
    every other, padding too. Raises InputError where the ids are longer than the model.
    """
    return _Dit(config).apply({"params": params}, *_inputs(config, ids, t))


def features(params: Tree, config: DitConfig, ids: Integer[Array, "B S"], t: Times) -> Float[Array, "B S D"]:
    """What the head is applied to, [B,S,D] float32: ``losses.LazyLogits(features(...), *head(params))`` are the logits.

    There the products run in the dtype of their operands: round both for half precision.
    """
    return _Dit(config).apply({"params": params}, *_inputs(config, ids, t), method="features")


def hooked(
    params: Tree,
    config: DitConfig,
    ids: Integer[Array, "B S"],
    t: Times,
    layer: int,
    hook: Callable[[Float[Array, "B S D"]], tuple[Float[Array, "B S D"], Tree]],
) -> tuple[Float[Array, "B S V"], Tree]:
    """``apply`` with the hidden states after ``layer`` layers given to ``hook``, which returns (states to go on with,
    anything else) -> (logits, the anything else). Raises InputError unless there are layers on both sides."""
    if not 0 < layer < config.layers:
        raise InputError(f"layer {layer}: a hook stands between two of the {config.layers} layers")

    model = _Dit(config)
    return model.apply({"params": params}, *_inputs(config, ids, t), layer, hook, method="hooked")


def head(params: Tree) -> tuple[Float[Array, "D V"], Float[Array, "V"]]:
    """The head's kernel and bias: ``apply`` = features kernel + bias."""
    return params["head"]["kernel"], params["head"]["bias"]


def _inputs(config: DitConfig, ids: Array, t: Times) -> tuple[Array, Array]:
    if ids.shape[1] > config.max_length:
        raise InputError(f"{ids.shape[1]} tokens are more than the model's max_length {config.max_length}")
    return ids, jnp.broadcast_to(jnp.asarray(t, FLOAT32), ids.shape[:1])
