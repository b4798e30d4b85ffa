"""The concept bottleneck for text: tokens -> C concepts -> tokens; traced switches make its decoder of three kinds.

Source: the concept encoder and decoders of github.com/ksopyla/MrCogito, as of 2026-03-01. What that code has as classes
(two or six layers, BiXT, diffusion, autoregressive and position-only decoders) are numbers here, so that all of them
are rows of one program. Flax stays behind ``init``/``encode``/``decode``.
"""

import dataclasses
import math
from functools import lru_cache, partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from gidd_jax.errors import InputError
from gidd_jax.models.dit import AdaptiveNorm, Linear, parts, time_waves
from gidd_jax.models.layers import FLOAT32, Dropout, filled, standardise
from gidd_jax.replica import attention
from gidd_jax.types import Mask, PRNGKey, Tokens, Tree

PRESETS = {
    f"H512L{layers}C128D2": {"d_model": 512, "encoder_layers": layers, "concepts": 128, "decoder_layers": 2, "heads": 8}
    | {"hidden": hidden}
    for layers, hidden in ((2, 1024), (6, 2048))
}
"""The sizes of the source under its own names: width H, encoder layers L, concepts C, decoder layers D."""


@dataclasses.dataclass(frozen=True)
class BottleneckConfig:
    """Static shape. ``token_dim`` is the width of the encoder's token and position tables (0: as wide as the model).

    ``dropout`` zeroes the encoder's embedded tokens, attention weights and the feed-forward layers' hidden units, as
    the source has it (.1), where a key is given. ``slot_positions``: what is added to each concept before the first
    layer, a table of its own or sinusoids of the concept's number.
    """

    vocab_size: int
    length: int
    d_model: int = 512
    concepts: int = 128
    encoder_layers: int = 2
    decoder_layers: int = 2
    heads: int = 8
    hidden: int = 1024
    token_dim: int = 0
    dropout: float = 0.0
    slot_positions: Literal["none", "learned", "sinusoidal"] = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        sizes = ("vocab_size", "length", "d_model", "concepts", "encoder_layers", "decoder_layers", "heads", "hidden")
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: sizes start at 1")
        if self.d_model % self.heads:
            raise InputError(f"d_model {self.d_model} must be a multiple of heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout} must lie in [0, 1)")

    @property
    def name(self) -> str:
        """The source's name for this shape: H512L2C128D2."""
        return f"H{self.d_model}L{self.encoder_layers}C{self.concepts}D{self.decoder_layers}"


class Switches(NamedTuple):
    """What a row decides about the shape, all traced; the defaults are the source's diffusion model."""

    depth: ArrayLike = 1e6
    """Encoder layers in use; half a layer adds half of what it would."""
    concepts: ArrayLike = 1e6
    """Concepts in use, the first so many."""
    bixt: ArrayLike = 0.0
    """Weight of the concepts' answer to the tokens in every encoder layer; 0: tokens stay as embedded."""
    channel: ArrayLike = 1.0
    """What concepts are multiplied by before the decoder reads them; 0: the arm without a channel."""
    tokens: ArrayLike = 1.0
    """Weight of the decoder's token embeddings; 0: it is asked by position alone."""
    self_attention: ArrayLike = 0.0
    """Weight of the decoder's attention among tokens."""
    causal: ArrayLike = 0.0
    """1: that attention looks at no later cell."""
    gate: ArrayLike = 0.0
    """Added to the decoder's gates, which start at 0 (AdaLN-Zero)."""

    def slots(self, config: BottleneckConfig) -> Bool[Array, "C"]:
        """Which concepts are in use."""
        return jnp.arange(config.concepts) < self.concepts


_shape_only = nn.initializers.zeros


class Norm(nn.Module):
    """Layer norm with scale and bias."""

    @nn.compact
    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        wide = partial(jnp.broadcast_to, shape=x.shape)
        scale = self.param("scale", _shape_only, x.shape[-1:])
        return standardise(x) * wide(scale) + wide(self.param("bias", _shape_only, x.shape[-1:]))


class Attend(nn.Module):
    """Multi-head attention of ``x`` over ``y``, which may be masked ([B,1,Q,K]); biases on."""

    heads: int
    dtype: jnp.dtype
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "B Q D"], y: Float[Array, "B K D"], mask: Bool[Array, "*#B #h #Q #K"]
    ) -> Float[Array, "B Q D"]:
        width = x.shape[-1]
        by_head = lambda z: z.reshape(*z.shape[:2], self.heads, -1).swapaxes(1, 2).astype(self.dtype)  # noqa: E731
        linear = partial(Linear, width, self.dtype)
        q, k, v = (by_head(linear(name=name)(z)) for name, z in (("query", x), ("key", y), ("value", y)))
        mask = jnp.broadcast_to(mask, (x.shape[0], self.heads, x.shape[1], y.shape[1]))
        drop = Dropout(self.dropout) if self.dropout and self.has_rng("dropout") else None
        mixed = attention(q, k, v, drop, mask).swapaxes(1, 2)
        return linear(name="out")(mixed.reshape(x.shape).astype(FLOAT32))


class Gated(nn.Module):
    """GEGLU: W_o (gelu(a) g), [a, g] = W_i x + b."""

    hidden: int
    dtype: jnp.dtype
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        a, g = jnp.split(Linear(2 * self.hidden, self.dtype, name="in")(x), 2, axis=-1)
        inside = Dropout(self.dropout)(jax.nn.gelu(a, approximate=False) * g)
        return Linear(x.shape[-1], self.dtype, name="out")(inside)


class EncoderLayer(nn.Module):
    """c += attend(n(c), x); x += bixt attend(n(x), c); c += attend(n(c), n(c)); c += GEGLU(n(c)); all times ``on``."""

    config: BottleneckConfig

    @nn.compact
    def __call__(self, state: tuple[Array, Array], on: Array, keep: Array, slots: Array, bixt: Array):
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        attend = partial(Attend, config.heads, dtype, config.dropout)
        c, x = state
        new = c + attend(name="read")(Norm(name="norm_read")(c), x, keep)
        told = x + bixt * attend(name="tell")(Norm(name="norm_tell")(x), new, slots)
        normal = Norm(name="norm_talk")(new)
        new = new + attend(name="talk")(normal, normal, slots)
        new = new + Gated(config.hidden, dtype, config.dropout, name="feed")(Norm(name="norm_feed")(new))
        c, x = c + on * (new - c), x + on * (told - x)
        return (c, x), c


class DecoderLayer(nn.Module):
    """Gated and modulated by time: x += attention among tokens; x += attend(x, concepts); x += GEGLU(x)."""

    config: BottleneckConfig

    @nn.compact
    def __call__(
        self, x: Array, time: Array, concepts: Array, slots: Array, reach: Array, self_attention: Array, gate: Array
    ):
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        own = parts(Linear(9 * config.d_model, name="modulation")(time), 9)
        attend = partial(Attend, config.heads, dtype, config.dropout)
        normal = AdaptiveNorm(name="norm_talk")(x, own[0], own[1])
        x = x + self_attention * (own[2] + gate) * attend(name="talk")(normal, normal, reach)
        normal = AdaptiveNorm(name="norm_read")(x, own[3], own[4])
        x = x + (own[5] + gate) * attend(name="read")(normal, concepts, slots)
        normal = AdaptiveNorm(name="norm_feed")(x, own[6], own[7])
        return x + (own[8] + gate) * Gated(config.hidden, dtype, config.dropout, name="feed")(normal), None


class _Encoder(nn.Module):
    config: BottleneckConfig

    @nn.compact
    def __call__(self, ids: Array, keep: Array, switches: Switches) -> tuple[Array, Array]:
        config = self.config
        small = config.token_dim or config.d_model
        token = self.param("token", _shape_only, (config.vocab_size, small))
        place = self.param("place", _shape_only, (config.length, small))
        concept = self.param("concept", _shape_only, (config.concepts, config.d_model))
        x = token[ids] + place[None, : ids.shape[1]]
        if small != config.d_model:
            x = Linear(config.d_model, jnp.dtype(config.dtype), name="widen")(x)
        x = Dropout(config.dropout)(x)
        on = jnp.clip(switches.depth - jnp.arange(config.encoder_layers, dtype=FLOAT32), 0.0, 1.0)
        layers = _scanned(EncoderLayer, (0, *(nn.broadcast,) * 3), config.encoder_layers)(config, name="layers")
        if config.slot_positions == "learned":
            concept = concept + self.param("slot", _shape_only, concept.shape)
        elif config.slot_positions == "sinusoidal":
            concept = concept + slot_waves(*concept.shape)
        first = jnp.broadcast_to(concept[None], (len(ids), *concept.shape))
        masks = keep[:, None, None, :], switches.slots(config)[None, None, None]
        (c, _), states = layers((first, x), on, *masks, jnp.asarray(switches.bixt, FLOAT32))
        return Norm(name="norm")(c), states


class _Decoder(nn.Module):
    config: BottleneckConfig

    @nn.compact
    def __call__(
        self,
        concepts: Array,
        z: Array,
        place: Array,
        reach: Array,
        t: Array,
        switches: Switches,
        embedded: Array,
        logits: bool = True,
    ) -> Array:
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        token = self.param("token", _shape_only, (config.vocab_size, config.d_model))
        places = self.param("place", _shape_only, (config.length, config.d_model))
        x = switches.tokens * (token[z] + embedded) + places[place]
        linear = partial(Linear, dtype=dtype)
        time = Linear(config.d_model, name="time_out")(
            jax.nn.silu(Linear(2 * config.d_model, name="time_in")(time_waves(t)))
        )
        cell = jnp.arange(z.shape[1])
        ahead = (cell[None, :] > cell[:, None]) & (jnp.asarray(switches.causal) > 0)
        layers = _scanned(DecoderLayer, (nn.broadcast,) * 6, config.decoder_layers)(config, name="layers")
        x, _ = layers(
            x,
            time,
            switches.channel * concepts,
            switches.slots(config)[None, None, None],
            reach[:, None, None, :] & ~ahead[None, None],
            jnp.asarray(switches.self_attention, FLOAT32),
            jnp.asarray(switches.gate, FLOAT32),
        )
        x = Norm(name="norm")(x)
        return linear(config.vocab_size, bias=False, exact=True, name="head")(x) if logits else x


def _scanned(layer: type[nn.Module], in_axes: tuple, length: int) -> type[nn.Module]:
    own = {"params": True, "dropout": True}
    return nn.scan(layer, variable_axes={"params": 0}, split_rngs=own, in_axes=in_axes, out_axes=0, length=length)


def slot_waves(count: int, width: int) -> Float[Array, "C D"]:
    """Sinusoidal positions: sin, cos (p 10000^(-2i/D)) at features 2i, 2i + 1 of slot p. arXiv 1706.03762, 3.5."""
    feature = np.arange(width)
    angle = np.arange(count)[:, None] * 10_000.0 ** (-(feature - feature % 2) / width)[None]
    return jnp.asarray(np.where(feature % 2, np.cos(angle), np.sin(angle)), FLOAT32)


@lru_cache(maxsize=64)
def shapes(config: BottleneckConfig) -> Tree:
    """The parameters {"encoder", "decoder"} as `jax.ShapeDtypeStruct`s."""
    ids, keep = jnp.zeros((1, config.length), jnp.int32), jnp.ones((1, config.length), bool)
    concepts = jnp.zeros((1, config.concepts, config.d_model))
    embedded = jnp.zeros((1, config.length, config.d_model))
    build = {
        "encoder": (_Encoder(config), (ids, keep, Switches())),
        "decoder": (_Decoder(config), (concepts, ids, ids, keep, jnp.zeros(1), Switches(), embedded)),
    }
    key = jax.random.key(0)
    return {name: jax.eval_shape(module.init, key, *args)["params"] for name, (module, args) in build.items()}


def parameter_count(config: BottleneckConfig) -> int:
    """Number of scalars in the parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(config)))


def init(key: PRNGKey, config: BottleneckConfig, std: ArrayLike = 0.02) -> Tree:
    """Random parameters of encoder and decoder, nested dicts of float32; the key is consumed.

    Kernels and tables have standard deviation ``std`` (traced; the source has .1), concepts twice that, queries, keys
    and values Xavier's over the three together, as torch; modulations, biases 0; norms 1. All draws are uniform.
    """

    def fill(path: tuple[str, ...], draw: Array) -> Array:
        if path[-1] == "bias" or "modulation" in path:
            return jnp.zeros_like(draw)
        if path[-1] == "scale":
            return jnp.ones_like(draw)
        if path[-2:-1] and path[-2] in ("query", "key", "value"):
            return draw * math.sqrt(6 / (4 * config.d_model))
        return draw * (math.sqrt(3) * std * (2 if path[-1] == "concept" else 1))

    return filled(key, shapes(config), fill)


def encode(
    params: Tree,
    config: BottleneckConfig,
    switches: Switches,
    ids: Tokens,
    keep: Mask,
    dropout_key: PRNGKey | None = None,
) -> tuple[Float[Array, "B C D"], Float[Array, "L B C D"]]:
    """Concepts of each sequence after the last norm, and before it after each layer.

    keep: cells that may be read, one a row at least. Concepts not in use are still computed, and read by nobody.
    No dropout without a ``dropout_key``, which is consumed.
    Raises InputError where the ids are longer than the model.
    """
    _fits(config, ids)
    return _Encoder(config).apply({"params": params["encoder"]}, ids, keep, switches, rngs=_streams(dropout_key))


def decode(
    params: Tree,
    config: BottleneckConfig,
    switches: Switches,
    concepts: Float[Array, "B C D"],
    z: Tokens,
    place: Int[Array, "B S"],
    reach: Mask,
    t: Float[Array, "B"],
    embedded: Float[Array, "B S D"] | None = None,
    dropout_key: PRNGKey | None = None,
) -> Float[Array, "B S V"]:
    """Logits of the clean tokens, [B,S,V] float32.

    z: what the decoder is shown; place: the position each cell is at, from 0; reach: cells that attention among tokens
    may look at; ``embedded`` is added to the embeddings of z (to differentiate by them). Without self-attention the
    logits of a cell depend on no other cell of z: d logit_i / d z_j = 0 exactly for i != j. ``dropout_key`` as in
    ``encode``.
    """
    return _decoded(params, config, switches, concepts, z, place, reach, t, embedded, dropout_key, logits=True)


def features(
    params: Tree,
    config: BottleneckConfig,
    switches: Switches,
    concepts: Float[Array, "B C D"],
    z: Tokens,
    place: Int[Array, "B S"],
    reach: Mask,
    t: Float[Array, "B"],
    dropout_key: PRNGKey | None = None,
) -> Float[Array, "B S D"]:
    """What the logits of ``decode`` are read from: the decoder's hidden states after the last norm, [B,S,D]."""
    return _decoded(params, config, switches, concepts, z, place, reach, t, None, dropout_key, logits=False)


def _decoded(
    params: Tree,
    config: BottleneckConfig,
    switches: Switches,
    concepts: Array,
    z: Array,
    place: Array,
    reach: Array,
    t: Array,
    embedded: Array | None,
    dropout_key: PRNGKey | None,
    logits: bool,
) -> Array:
    _fits(config, z)
    embedded = jnp.zeros((1, 1, 1), FLOAT32) if embedded is None else embedded
    args = concepts, z, place, reach, t, switches, embedded, logits
    return _Decoder(config).apply({"params": params["decoder"]}, *args, rngs=_streams(dropout_key))


def _streams(dropout_key: PRNGKey | None) -> dict[str, PRNGKey]:
    return {} if dropout_key is None else {"dropout": dropout_key}


def _fits(config: BottleneckConfig, ids: Tokens) -> None:
    if ids.shape[1] > config.length:
        raise InputError(f"{ids.shape[1]} tokens are more than the model's length {config.length}")
