"""Two replicas of one diffusion model that read each other, and what theory says of their difference."""

from gidd_jax.diffusion import ddim_step
from gidd_jax.replica.attention import Attend, Exchange, attention, coupled_attention, paired_attention, swap
from gidd_jax.replica.bounds import Bounds, bounds
from gidd_jax.replica.branching import EVIDENT, Branching, ScoreGain, branching, carried, score_gain
from gidd_jax.replica.linear import (
    Channels,
    Gains,
    Propagated,
    Split,
    channels,
    difference_jvp,
    gains,
    linear_split,
    propagated,
    softmax_tangent,
)
from gidd_jax.replica.pairs import enlarged, initial_pair, pair_correlation, pooled, restore, scale_discrepancy
from gidd_jax.replica.speciation import (
    Crossing,
    Speciation,
    effective_precision,
    mean_field,
    mixture_score,
    mode_gain,
    speciation,
    speciation_gap,
    speciation_step,
)

__all__ = [
    "EVIDENT",
    "Attend",
    "Bounds",
    "Branching",
    "Channels",
    "Crossing",
    "Exchange",
    "Gains",
    "Propagated",
    "ScoreGain",
    "Speciation",
    "Split",
    "attention",
    "bounds",
    "branching",
    "carried",
    "channels",
    "coupled_attention",
    "ddim_step",
    "difference_jvp",
    "effective_precision",
    "enlarged",
    "gains",
    "initial_pair",
    "linear_split",
    "mean_field",
    "mixture_score",
    "mode_gain",
    "pair_correlation",
    "paired_attention",
    "pooled",
    "propagated",
    "restore",
    "scale_discrepancy",
    "score_gain",
    "softmax_tangent",
    "speciation",
    "speciation_gap",
    "speciation_step",
    "swap",
]
