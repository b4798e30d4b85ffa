"""Logits -> per-cell terms in nats -> (scalar loss, Metrics). Everything here is float32 inside."""

from gidd_jax.losses.gidd import (
    GiddTerms,
    gidd_loss,
    gidd_loss_from_features,
    gidd_terms,
    gidd_terms_from_features,
    itakura_saito,
    loss_weight,
)
from gidd_jax.losses.masked import masked_elbo
from gidd_jax.losses.two_head import T_BINS, TwoHeadTerms, two_head_loss, two_head_metrics, two_head_terms

__all__ = [
    "T_BINS",
    "GiddTerms",
    "TwoHeadTerms",
    "gidd_loss",
    "gidd_loss_from_features",
    "gidd_terms",
    "gidd_terms_from_features",
    "itakura_saito",
    "loss_weight",
    "masked_elbo",
    "two_head_loss",
    "two_head_metrics",
    "two_head_terms",
]
