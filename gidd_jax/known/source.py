"""Token sources whose law is known: Markov chains and hidden Markov models, as pytrees of probabilities."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from gidd_jax.errors import InputError
from gidd_jax.types import PRNGKey

FLOOR = 1e-3
"""Share of each drawn row that is uniform instead: every token can follow every other, and every chain mixes."""


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["initial", "transition", "emission"], meta_fields=["order"]
)
@dataclasses.dataclass(frozen=True)
class Source:
    """A stationary process over tokens 0..V-1 with Z states: initial [Z], transition [Z,Z], emission [Z,V].

    P(x) = sum over states of initial[z_1] emission[z_1, x_1] transition[z_1, z_2] emission[z_2, x_2] ... ``order``
    (static) is k where the state is the last k tokens, and 0 where it is hidden.
    """

    initial: Any
    transition: Any
    emission: Any
    order: int = 0

    @property
    def vocab(self) -> int:
        """V, the tokens of the source; the mask and the padding are none of them."""
        return self.emission.shape[-1]


def markov(key: PRNGKey, vocab: int, concentration: ArrayLike = 1.0, order: int = 1) -> Source:
    """A stationary Markov chain of ``order`` k with V^k random rows; consumes ``key``.

    Each row is 0.999 p + 0.001 / V with p ~ E^(1/concentration), E exponential numbers: uniform over the simplex
    (Dirichlet 1) at 1, the same draw sharper below and flatter above, so the dial (traced) moves the entropy alone. A
    state is the last k tokens, the newest as the lowest digit in base V. InputError for < 2 tokens or order 0.
    """
    if vocab < 2 or order < 1:
        raise InputError(f"vocab {vocab}, order {order}: a chain needs 2 tokens or more and an order of 1 or more")
    states = vocab**order
    state = jnp.arange(states)
    rows = _rows(key, concentration, states, vocab)
    following = (state[:, None] * vocab + jnp.arange(vocab)[None]) % states
    transition = jnp.zeros((states, states)).at[state[:, None], following].set(rows)
    emission = jax.nn.one_hot(state % vocab, vocab)
    return Source(stationary(transition), transition, emission, order)


def hmm(
    key: PRNGKey, states: int, vocab: int, concentration: ArrayLike = 1.0, emission_concentration: ArrayLike = 1.0
) -> Source:
    """A stationary hidden Markov model, rows drawn as those of ``markov``; consumes ``key``.

    ``concentration`` is that of the transitions; both are traced. InputError for no state or fewer than 2 tokens.
    """
    if states < 1 or vocab < 2:
        raise InputError(f"states {states}, vocab {vocab}: give 1 state or more and 2 tokens or more")
    transition_key, emission_key = jax.random.split(key)
    transition = _rows(transition_key, concentration, states, states)
    emission = _rows(emission_key, emission_concentration, states, vocab)
    return Source(stationary(transition), transition, emission)


@jax.jit
def stationary(transition: Float[ArrayLike, "Z Z"]) -> Float[Array, "Z"]:
    """The distribution p = p T of an irreducible chain, exact to rounding in every entry.

    States are taken out one by one without a subtraction, so a chain that hardly mixes costs no digits. Source:
    Grassmann, Taksar & Heyman, Operations Research 33 (1985) 1107.
    """
    transition = jnp.asarray(transition)
    count = len(transition)
    state = jnp.arange(count)

    def fold(step, T):
        last = count - 1 - step
        left = state < last
        into = jnp.where(left, T[:, last], 0.0) / jnp.where(left, T[last], 0.0).sum()
        return (T + jnp.outer(into, jnp.where(left, T[last], 0.0))).at[:, last].set(jnp.where(left, into, T[:, last]))

    def unfold(n, p):
        return p.at[n].set(jnp.where(state < n, p * T[:, n], 0.0).sum())

    T = jax.lax.fori_loop(0, count - 1, fold, transition)
    p = jax.lax.fori_loop(1, count, unfold, (state == 0).astype(transition.dtype))
    return p / p.sum()


@functools.partial(jax.jit, static_argnames=("batch", "length"))
def sample(key: PRNGKey, source: Source, batch: int, length: int) -> Int[Array, "B S"]:
    """``batch`` independent sequences of ``length`` tokens, int32 [B,S]; consumes ``key``."""
    first_key, key = jax.random.split(key)
    transition, emission = jnp.log(source.transition), jnp.log(source.emission)

    def step(state, i):
        emit_key, move_key = jax.random.split(jax.random.fold_in(key, i))
        token = jax.random.categorical(emit_key, emission[state])
        return jax.random.categorical(move_key, transition[state]), token

    first = jax.random.categorical(first_key, jnp.log(source.initial), shape=(batch,))
    return jax.lax.scan(step, first, jnp.arange(length))[1].T


def _rows(key: PRNGKey, concentration: ArrayLike, count: int, width: int) -> Float[Array, "count width"]:
    # -Gumbel is the log of an exponential number, so this is E^(1/c), normalised.
    drawn = jax.nn.softmax(-jax.random.gumbel(key, (count, width)) / concentration)
    return (1 - FLOOR) * drawn + FLOOR / width
