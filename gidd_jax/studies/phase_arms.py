"""The arms of the causal test: samples from the same keys, with R as it is and as it is not."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gidd_jax import sampling
from gidd_jax.sampling import ARMS, Arm
from gidd_jax.studies.phase_settings import Hyper

LEARNED, UNTRAINED, CERTAIN, ORACLE = range(4)
"""Whose R an arm reads: the trained core's; one's that never learnt; the best model's certainty, the chance that its
own best token is right, which knows the cell alone; the best model's chance that the token drawn is right."""

DOSES = tuple(round(0.1 * i, 1) for i in range(11))
"""Values that R is set to."""

PACES = ("own", "free", "another", "mean", "matched", "oracle", "oracle's other")
"""Whose R sets the pace: the arm's own; that of free (or oracle) at the same key, or at another key; the mean over keys
at every step; the constant that leaves as many masks on average."""


class Row(NamedTuple):
    """One arm: what it changes of the guided sampler, who sets its pace, and whose R it reads."""

    changes: dict[str, float]
    pace: str = "own"
    source: int = LEARNED


SAMPLERS: dict[str, dict[str, float]] = {
    "guided": {},
    **{name: ARMS[name]._asdict() for name in ("low_confidence", "random_order", "ancestral", "remdm")},
    "remdm_guided": {"again": 1.0},
}
"""``sampling.ARMS`` as changes of the guided sampler that a row is set to."""

_MUTE = {"span": 0.0, "agreement": 0.0}
_SHUFFLED = {"shuffled": 1.0}
_ALONE = {"confidence": 0.0, "agreement": 1.0}
ROWS: dict[str, Row] = {
    "free": Row(SAMPLERS["guided"]),
    "untrained": Row({}, source=UNTRAINED),
    "oracle": Row({}, source=ORACLE),
    **{f"{dose:g}": Row({"clamp": dose}) for dose in DOSES},
    "yoked": Row({}, "another"),
    "shuffled": Row(_SHUFFLED, "free"),
    "neither": Row(_SHUFFLED, "another"),
    "mean path": Row({}, "mean"),
    "matched": Row({}, "matched"),
    "oracle yoked": Row({}, "oracle's other", ORACLE),
    "oracle shuffled": Row(_SHUFFLED, "oracle", ORACLE),
    "oracle neither": Row(_SHUFFLED, "oracle's other", ORACLE),
    "alone": Row(_ALONE, "free"),
    "alone shuffled": Row(_ALONE | _SHUFFLED, "free"),
    "oracle alone": Row(_ALONE, "oracle", ORACLE),
    "oracle alone shuffled": Row(_ALONE | _SHUFFLED, "oracle", ORACLE),
    "certain alone": Row(_ALONE, "free", CERTAIN),
    "certain alone shuffled": Row(_ALONE | _SHUFFLED, "free", CERTAIN),
    "no span": Row(_MUTE),
    "no span, 0.3": Row(_MUTE | {"clamp": 0.3}),
    "no span, 0.7": Row(_MUTE | {"clamp": 0.7}),
    **{name.replace("_", " "): Row(changes) for name, changes in SAMPLERS.items() if name != "guided"},
}
"""By name. A number: R set to it, in pace and order. yoked takes R's pace out of step with the text, shuffled (R moved
among the masked cells) its order, neither both; each keeps the distribution of R. alone: the order is R's, without the
model's own confidence in the token drawn, which tells much the same. no span: R without any way to act,
whatever it is set to: these three must be equal to the bit. The rest: other samplers at as many model calls."""

NAMES = tuple(ROWS)


def arm(hyper: Hyper, changes: dict[str, float]) -> Arm:
    """The guided sampler as a row is set to, changed; the temperature is always the row's."""
    usual = Arm(span=hyper.span, lo=hyper.lo, agreement=hyper.agreement)._asdict()
    return Arm(**usual | changes | {"temperature": hyper.temperature})


def sample(
    keys: Key[Array, "N"],
    guess: Callable[[Int[Array, ""]], sampling.Guess],
    hyper: Hyper,
    steps: int,
    cells: int,
    mask_id: int,
) -> sampling.Guided:
    """Every arm from the same keys -> ``Guided`` with a leading axis of arms, in the order of ``NAMES``.

    ``guess(source)`` gives the model with R from that source (traced). One arm after the other, so that later ones can
    take the paces of the first.
    """
    numbers, kind = jax.random.key_data(keys), jax.random.key_impl(keys)
    blank = jnp.full((len(keys), cells), mask_id, jnp.int32)
    arms = [arm(hyper, row.changes) for row in ROWS.values()]
    arms = Arm(*(jnp.stack([jnp.asarray(v, jnp.float32) for v in values]) for values in zip(*arms, strict=True)))
    whose = jnp.array([PACES.index(row.pace) for row in ROWS.values()])
    source = jnp.array([row.source for row in ROWS.values()])

    def one(known, inputs):
        learned, oracle, matched = known
        how, whose, source, i = inputs
        mean, around = jnp.broadcast_to(learned.mean(1, keepdims=True), learned.shape), jnp.roll(learned, 1, axis=1)
        constant = jnp.full(learned.shape, matched)
        paces = [jnp.full(learned.shape, jnp.nan), learned, around, mean, constant, oracle, jnp.roll(oracle, 1, axis=1)]
        fresh = jax.random.wrap_key_data(numbers, impl=kind)
        found = sampling.guided(fresh, guess(source), blank, steps, mask_id, how, jnp.stack(paces)[whose])
        learned = jnp.where(i == NAMES.index("free"), found.r, learned)
        oracle = jnp.where(i == NAMES.index("oracle"), found.r, oracle)
        matched = jnp.where(i == NAMES.index("free"), _matched(hyper, found.counts, cells), matched)
        return (learned, oracle, matched), found

    nothing = jnp.zeros((steps, len(keys)))
    return jax.lax.scan(one, (nothing, nothing, 0.5), (arms, whose, source, jnp.arange(len(NAMES))))[1]


def left(counts: Int[Array, "T B"], cells: int) -> Float[Array, "T B"]:
    """Share of the cells that is masked after each step."""
    return 1 - jnp.cumsum(counts, axis=0) / cells


def _matched(hyper: Hyper, counts: Int[Array, "T N"], cells: int) -> Float[Array, ""]:
    """The constant R whose pace leaves as many masks, on average over steps, as these counts did."""
    tried = jnp.linspace(0.0, 1.0, 101)
    constant = jnp.broadcast_to(tried[None], (len(counts), len(tried)))
    paths = sampling.reveal_counts(jnp.full(len(tried), cells), constant, hyper.span, hyper.lo)
    return tried[jnp.argmin(jnp.abs(left(paths, cells).mean(0) - left(counts, cells).mean()))]
