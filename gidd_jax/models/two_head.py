"""The two-head denoiser: a jump head (which token was there) and a holding head (was this token resampled).

The heads share one trunk, or each has a tower of its own and the towers are coupled by replica attention. The trunk is
written once for T towers: T = 1 shared, T = 2 with tower 0 holding and tower 1 jump. Flax stays behind `init`/`apply`.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from gidd_jax.errors import InputError
from gidd_jax.models.layers import Block, Dense, Embedding, LayerNorm, rotary_angles, rotate, scale_gradient
from gidd_jax.replica import KERNELS, swap
from gidd_jax.types import PRNGKey, Scalar, Tree

Cross = Literal["normal", "zero", "shuffle", "random"]
CROSSES: tuple[Cross, ...] = get_args(Cross)


@dataclasses.dataclass(frozen=True)
class TwoHeadConfig:
    """Static shape of the model; another config is another compile.

    `mask_token` adds the id digits + 1. `norm="post"` with learned positions, `given=False`, a shared trunk and no time
    is the source posts' stored code (806,026 parameters), blind to which cells are given; `init="torch"` starts it as
    theirs starts.
    """

    cells: int
    digits: int
    box_rows: int
    box_cols: int
    mask_token: bool = False
    d_model: int = 128
    layers: int = 4
    heads: int = 4
    d_ff: int = 512
    trunk: Literal["towers", "shared"] = "towers"
    norm: Literal["pre", "post"] = "pre"
    positions: Literal["learned", "rope"] = "learned"
    given: bool = True
    time: bool = False
    gated: bool = False
    gate_stop: bool = True
    iterations: int = 1
    dropout: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    init: Literal["lecun", "torch"] = "lecun"
    attention_kernel: Literal["auto", "einsum", "cudnn"] = "auto"

    def __post_init__(self):
        def require(truth: bool, complaint: str):
            if not truth:
                raise InputError(complaint)

        choices = {"trunk": ("towers", "shared"), "norm": ("pre", "post"), "positions": ("learned", "rope")}
        choices |= {"dtype": ("float32", "bfloat16"), "init": tuple(_DRAWS), "attention_kernel": tuple(KERNELS)}
        for name, allowed in choices.items():
            require(getattr(self, name) in allowed, f"{name} must be one of {allowed}, not {getattr(self, name)!r}")
        require(
            self.digits == self.box_rows * self.box_cols and self.cells == self.digits**2,
            f"a board of {self.box_rows} x {self.box_cols} boxes has {self.box_rows * self.box_cols} digits and its "
            f"square of cells, not {self.digits} and {self.cells}",
        )
        require(min(self.layers, self.heads, self.d_ff, self.iterations) >= 1, "sizes and iterations start at 1")
        require(
            self.d_model % (2 * self.heads) == 0,
            f"d_model {self.d_model} must be a multiple of 2 x heads {self.heads}",
        )
        require(
            self.positions != "rope" or self.d_model % (4 * self.heads) == 0,
            f"rope needs d_model {self.d_model} to be a multiple of 4 x heads {self.heads}",
        )
        require(self.mask_token or not self.gated, "gated needs mask_token")
        require(0 <= self.dropout < 1, f"dropout {self.dropout} must lie in [0, 1)")

    @property
    def towers(self) -> int:
        return 2 if self.trunk == "towers" else 1

    @property
    def mask_id(self) -> int:
        return self.digits + 1


class Couplings(NamedTuple):
    """The dials of the model, traced scalars in [0, 1]: what heads and towers read of each other, and of the question.

    attention: towers read each other's keys and values; 0 = two independent models.
    gradient, gradient_jump: share of the holding (jump) head's gradient that enters its trunk; 0 = the head is a probe.
    gate: how much of e_MASK replaces a cell the holding head suspects, in the jump's second pass.
    gate_hard: 0 weighs e_MASK by the holding score, 1 by whether it is above 1/2; between, by both.
    gate_truth: share of the true labels in what the gate reads, where ``apply`` is given them.
    sees_given: weight of the flag that tells which cells are given, of a config with ``given``; at 0 the model is blind
    to it, as one without.
    """

    attention: Scalar = 0.0
    gradient: Scalar = 1.0
    gradient_jump: Scalar = 1.0
    gate: Scalar = 0.0
    gate_hard: Scalar = 0.0
    gate_truth: Scalar = 0.0
    sees_given: Scalar = 1.0


class Heads(NamedTuple):
    """Outputs for I iterations.

    jump: logits of the clean digit minus 1. holding: logit that the cell was resampled. features: what the heads read
    in the last iteration, after the final norm if there is one; under a gate each tower's own pass, a shared trunk's
    second.
    """

    jump: Float[Array, "I B S V"]
    holding: Float[Array, "I B S"]
    features: Float[Array, "T B S D"]


def _roll_boards(x: Array, axis: int) -> Array:
    return jnp.roll(x, 1, axis)


def _turned(v: Array) -> Array:
    """v + R v, R a random rotation of each head: what is read moves as far as it does to 0, to where nothing is."""
    width = v.shape[-1]
    orthogonal, upper = np.linalg.qr(np.random.default_rng(0).normal(size=(v.shape[-3], width, width)))
    # The signs make the draw uniform over rotations and reflections.
    R_HxDxD = orthogonal * np.sign(np.diagonal(upper, axis1=1, axis2=2))[:, None, :]
    return v + jnp.einsum("...hsd,hde->...hse", v, R_HxDxD.astype(v.dtype))


# What a tower reads of the other: its keys and values, nothing (the 1/(1+g) stays), those of another board, or values
# changed as much as by nothing, in a direction of no meaning.
_EXCHANGE = {
    "normal": swap,
    "zero": lambda k, v: (k[::-1], jnp.zeros_like(v)),
    "shuffle": lambda k, v: (_roll_boards(k[::-1], 1), _roll_boards(v[::-1], 1)),
    "random": lambda k, v: (k[::-1], _turned(v[::-1])),
}
# What the second pass reads of the holding head's p [B,S].
_READ_GATE = {
    "normal": lambda p: p,
    "zero": jnp.zeros_like,
    "shuffle": lambda p: _roll_boards(p, 0),
    "random": lambda p: p,  # a number has no direction
}


def _read(ways: dict[Cross, Callable], cross: Cross | Integer[Array, ""]) -> Callable:
    """The way of a name; of a traced place among CROSSES, all of them in one program."""
    if isinstance(cross, str):
        return ways[cross]
    return lambda *own: jax.lax.switch(cross, [ways[name] for name in CROSSES], *own)


class _TwoHead(nn.Module):
    config: TwoHeadConfig
    cross: Any

    def setup(self):
        c = self.config
        dtype = jnp.dtype(c.dtype)
        table = partial(Embedding, c.towers, width=c.d_model)
        self.token = table(c.digits + 1 + c.mask_token)
        if c.positions == "learned":
            self.position = table(c.cells)
        if c.given:
            self.given_flag = table(2)
        if c.time:
            self.time_in, self.time_out = Dense(c.d_model, dtype), Dense(c.d_model, dtype)
        rotary = None
        if c.positions == "rope":
            rotary = partial(rotate, angles_SxP=rotary_angles(c.digits, c.d_model // c.heads))
        shared = (c.norm, c.dropout, dtype, _read(_EXCHANGE, self.cross), c.attention_kernel, rotary)
        self.blocks = [Block(c.heads, c.d_ff, *shared) for _ in range(c.layers)]
        if c.norm == "pre":
            self.norm = LayerNorm()
        if c.iterations > 1:
            self.feedback = Dense(c.d_model, dtype)
        self.jump = Dense(c.digits)
        self.holding = Dense(1)

    def __call__(
        self, z_BxS: Array, given_BxS: Array, t_B: Array, couplings: Couplings, truth_BxS: Array | None = None
    ) -> Heads:
        token_TxBxSxD = self.token(z_BxS)
        context_TxBxSxD = self._context(z_BxS, given_BxS, t_B, couplings.sees_given)
        first = self._iterate(token_TxBxSxD + context_TxBxSxD, couplings)
        if not self.config.gated:
            return first
        p_BxS = self._suspicion(first.holding[-1], given_BxS, couplings, truth_BxS)
        mask_TxBxSxD = self.token(jnp.full_like(z_BxS, self.config.mask_id))
        gated_TxBxSxD = token_TxBxSxD + p_BxS[None, :, :, None] * (mask_TxBxSxD - token_TxBxSxD)
        gated_TxBxSxD = jnp.concatenate([token_TxBxSxD[:-1], gated_TxBxSxD[-1:]])
        second = self._iterate(gated_TxBxSxD + context_TxBxSxD, couplings)
        features_TxBxSxD = jnp.concatenate([first.features[:-1], second.features[-1:]])
        return Heads(second.jump, first.holding, features_TxBxSxD)

    def _context(self, z_BxS: Array, given_BxS: Array, t_B: Array, sees_given: Scalar) -> Array:
        """What the embedding adds to the token: position, given flag, time. [T,B or 1,S or 1,D]"""
        c = self.config
        context = jnp.zeros((c.towers, 1, 1, c.d_model), jnp.float32)
        if c.positions == "learned":
            context = context + self.position(jnp.arange(c.cells)[None, :])
        if c.given:
            context = context + sees_given * self.given_flag(given_BxS.astype(jnp.int32))
        if c.time:
            frequency = 10_000.0 ** (-jnp.arange(c.d_model // 2, dtype=jnp.float32) / (c.d_model // 2))
            angle_BxP = 1000.0 * t_B[:, None] * frequency[None, :]
            wave_BxD = jnp.concatenate([jnp.sin(angle_BxP), jnp.cos(angle_BxP)], axis=1)
            wave_TxBx1xD = jnp.broadcast_to(wave_BxD[None, :, None, :], (c.towers, len(t_B), 1, c.d_model))
            context = context + self.time_out(jax.nn.relu(self.time_in(wave_TxBx1xD)))
        return context

    def _suspicion(self, holding_BxS: Array, given_BxS: Array, couplings: Couplings, truth_BxS: Array | None) -> Array:
        """g p, the weight of e_MASK in e' = (1 - g p) e(z) + g p e_MASK; exactly 0 at g = 0, and at given cells.

        Of a model that is not shown which cells are given the gate spares none: sparing would tell.
        """
        gate, hard = couplings.gate, couplings.gate_hard
        if self.config.gate_stop:
            holding_BxS = jax.lax.stop_gradient(holding_BxS)
        # Masked before the sigmoid: a logit that is not finite must not reach the other tower through 0 * inf.
        p_BxS = jax.nn.sigmoid(jnp.where(gate > 0, holding_BxS, 0.0))
        p_BxS = p_BxS + hard * ((p_BxS > 0.5) - p_BxS)
        if truth_BxS is not None:
            p_BxS = p_BxS + couplings.gate_truth * (truth_BxS - p_BxS)
        p_BxS = _read(_READ_GATE, self.cross)(p_BxS)
        spared_BxS = given_BxS & (couplings.sees_given > 0) if self.config.given else jnp.zeros_like(given_BxS)
        return gate * jnp.where(spared_BxS, 0.0, p_BxS)

    def _iterate(self, embedding_TxBxSxD: Array, couplings: Couplings) -> Heads:
        """h = stack(e + h_prev + Linear(softmax(jump_prev))) with shared weights; both terms are absent at first.

        Each tower keeps its own h_prev; the jump is fed back to its own tower only, so uncoupled towers stay so.
        """
        features_TxBxSxD, jump_BxSxV, holding_BxS = self._stack(embedding_TxBxSxD, couplings)
        if self.config.iterations == 1:
            return Heads(jump_BxSxV[None], holding_BxS[None], features_TxBxSxD)

        def again(module, carry, _):
            h_TxBxSxD, jump_BxSxV = carry
            fed_1xBxSxD = module.feedback(jax.nn.softmax(jump_BxSxV)[None])
            fed_TxBxSxD = jnp.concatenate([jnp.zeros_like(h_TxBxSxD[:-1]), fed_1xBxSxD])
            h_TxBxSxD, jump_BxSxV, holding_BxS = module._stack(embedding_TxBxSxD + h_TxBxSxD + fed_TxBxSxD, couplings)
            return (h_TxBxSxD, jump_BxSxV), (jump_BxSxV, holding_BxS)

        rest = nn.scan(
            again,
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            length=self.config.iterations - 1,
        )
        (features_TxBxSxD, _), (jump_IxBxSxV, holding_IxBxS) = rest(self, (features_TxBxSxD, jump_BxSxV), None)
        return Heads(
            jnp.concatenate([jump_BxSxV[None], jump_IxBxSxV]),
            jnp.concatenate([holding_BxS[None], holding_IxBxS]),
            features_TxBxSxD,
        )

    def _stack(self, h_TxBxSxD: Array, couplings: Couplings) -> tuple[Array, Array, Array]:
        """One pass of all layers -> features [T,B,S,D], jump [B,S,V], holding [B,S]."""
        for block in self.blocks:
            h_TxBxSxD = block(h_TxBxSxD, couplings.attention)
        if self.config.norm == "pre":
            h_TxBxSxD = self.norm(h_TxBxSxD)
        jump_1xBxSxV = self.jump(scale_gradient(h_TxBxSxD[-1:], couplings.gradient_jump))
        holding_1xBxSx1 = self.holding(scale_gradient(h_TxBxSxD[:1], couplings.gradient))
        return h_TxBxSxD, jump_1xBxSxV[0], holding_1xBxSx1[0, :, :, 0]


@lru_cache(maxsize=64)
def shapes(config: TwoHeadConfig) -> Tree:
    """The tree of parameters, as shapes."""
    board = jnp.zeros((1, config.cells), jnp.int32)
    model = _TwoHead(config, "normal")
    run = partial(model.init, jax.random.key(0))
    return jax.eval_shape(run, board, board > 0, jnp.zeros(1), Couplings(*map(jnp.float32, Couplings())))["params"]


def init(key: PRNGKey, config: TwoHeadConfig) -> Tree:
    """Random parameters, a nested dict of float32 arrays; the key is consumed. Towers get different draws.

    ``config.init`` "lecun": kernels N(0, 1/fan_in), residual outputs of a pre-norm model divided by sqrt(2 layers)
    besides; embeddings N(0, 1) for post-norm, N(0, 1/4) for pre-norm; biases 0, norm scales 1. "torch": what torch 2
    gives the posts' model, all layers equal because ``nn.TransformerEncoder`` copies one; see ``_torch``.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes(config))
    named = {tuple(entry.key for entry in path): leaf.shape for path, leaf in leaves}
    # One flat normal vector is drawn for all tensors, because threefry compiles once per call.
    flat = jax.random.normal(key, (sum(map(math.prod, named.values())),), jnp.float32)
    drawn, start = {}, 0
    for names, shape in named.items():
        size = math.prod(shape)
        normal, start = flat[start : start + size].reshape(shape), start + size
        fan_in = named.get((*names[:-1], "kernel"), (1, 1))[-2]
        drawn[names] = _DRAWS[config.init](names, normal, fan_in, config)
    if config.init == "torch":
        drawn = {names: drawn[("blocks_0" if "blocks" in names[0] else names[0], *names[1:])] for names in drawn}
    return jax.tree.unflatten(structure, list(drawn.values()))


def _lecun(names: tuple[str, ...], normal: Array, fan_in: int, config: TwoHeadConfig) -> Array:
    *_, layer, name = names
    if name == "kernel":
        depth = 2 * config.layers if layer == "out" and config.norm == "pre" else 1
        return normal / math.sqrt(fan_in * depth)
    if name == "embedding":
        return normal * (0.5 if config.norm == "pre" else 1.0)
    return jnp.full_like(normal, 1.0 if name == "scale" else 0.0)


def _torch(names: tuple[str, ...], normal: Array, fan_in: int, config: TwoHeadConfig) -> Array:
    """``nn.Linear``: weight and bias U(-a, a), a = 1/sqrt(fan_in); in attention both biases 0 and of the joint input
    weight a = sqrt(6 / (fan_in + fan_out)), fan_out 3 fan_in; ``nn.Embedding``: N(0, 1).
    """
    *_, layer, name = names
    if name == "embedding":
        return normal
    if layer.startswith("norm") or ("attention" in names and name == "bias"):
        return jnp.full_like(normal, 1.0 if name == "scale" else 0.0)
    bound = math.sqrt(6 / (4 * fan_in) if layer == "qkv" else 1 / fan_in)
    return bound * jax.scipy.special.erf(normal / math.sqrt(2))


_DRAWS = {"lecun": _lecun, "torch": _torch}


def apply(
    params: Tree,
    config: TwoHeadConfig,
    z: Integer[Array, "B S"],
    given: Bool[Array, "B S"],
    t: Float[Array, "B"],
    couplings: Couplings,
    *,
    dropout_key: PRNGKey | None = None,
    cross: Cross | Integer[Array, ""] = "normal",
    truth: Bool[Array, "B S"] | None = None,
) -> Heads:
    """Both heads for the boards z (digits 1..digits, or the mask id), one replica, one batch.

    given: cells that were never corrupted. t in [0, 1], read only if config.time. No dropout without a dropout_key
    (consumed). cross knocks the coupling out at evaluation: "zero" removes what one head reads of the other (the
    1/(1+g) stays), "shuffle" takes it from the next board of the batch, "random" changes what attention reads by as
    much as "zero" does, in a random direction; a traced place among CROSSES serves them all by one program. The layers
    of an iterated stack are shared, so ``dataclasses.replace(config, iterations=n)`` runs it n times; InputError for
    parameters without a feedback layer.
    truth: the labels that ``gate_truth`` mixes into the gate.
    """
    if config.iterations > 1 and "feedback" not in params:
        raise InputError(
            f"iterations {config.iterations}: these parameters are of a model of 1 and have no feedback layer"
        )
    couplings = Couplings(*(jnp.asarray(dial, jnp.float32) for dial in couplings))
    rngs = {} if dropout_key is None else {"dropout": dropout_key}
    return _TwoHead(config, cross).apply({"params": params}, z, given, t, couplings, truth, rngs=rngs)


def count_parameters(params: Tree) -> int:
    """Number of scalars in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
