"""Logits -> per-cell terms in nats -> (scalar loss, Metrics). Everything here is float32 inside."""

from gidd_jax.losses.bins import T_BINS, by_time
from gidd_jax.losses.gidd import GiddTerms, gidd_loss, gidd_terms, itakura_saito, loss_weight
from gidd_jax.losses.head import LazyLogits
from gidd_jax.losses.masked import cross_entropy, masked_elbo
from gidd_jax.losses.smoothing import smoothed_cross_entropy, smoothing_floor
from gidd_jax.losses.two_head import (
    Noised,
    TwoHeadTerms,
    TwoHeadWeights,
    holding_divergence,
    interpolating_divergence,
    two_head_loss,
    two_head_metrics,
    two_head_terms,
)

__all__ = [
    "T_BINS",
    "GiddTerms",
    "LazyLogits",
    "Noised",
    "TwoHeadTerms",
    "TwoHeadWeights",
    "by_time",
    "cross_entropy",
    "gidd_loss",
    "gidd_terms",
    "holding_divergence",
    "interpolating_divergence",
    "itakura_saito",
    "loss_weight",
    "masked_elbo",
    "smoothed_cross_entropy",
    "smoothing_floor",
    "two_head_loss",
    "two_head_metrics",
    "two_head_terms",
]
