"""Logits -> per-cell terms in nats -> (scalar loss, Metrics). Everything here is float32 inside."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gidd_jax.types import Mask, Mean, Metrics, Scalar, Times, Tokens

T_BINS = 10
"""Bins of equal width over t in (0,1); every average over noise levels is also shown by them."""


class TwoHeadTerms(NamedTuple):
    """Per cell, in nats: jump cross-entropy -log p(x) and holding binary cross-entropy."""

    jump: Float[Array, "*I B S"]
    holding: Float[Array, "*I B S"]


def two_head_terms(
    jump_logits: Float[Array, "*I B S V"], holding_logits: Float[Array, "*I B S"], x: Tokens, label: Mask
) -> TwoHeadTerms:
    """Cross-entropy of the jump head against x and of the holding head against ``label``, [..., B, S] nats.

    For c = resampled the sum over cells of BCE(holding, c) + c CE(jump, x) is -log P(c, x | z) exactly (chain rule;
    c = 0 forces x = z): the two terms are two factors of one denoising likelihood. Binary cross-entropy is taken on
    logits: softplus(h) - c h.
    """
    jump_logits, holding_logits = jump_logits.astype(jnp.float32), holding_logits.astype(jnp.float32)
    lead = jump_logits.shape[: -x.ndim - 1]
    target = jnp.broadcast_to(x, lead + x.shape)[..., None]
    chosen = jnp.take_along_axis(jump_logits, target, axis=-1)[..., 0]
    jump = jax.nn.logsumexp(jump_logits, axis=-1) - chosen
    holding = jax.nn.softplus(holding_logits) - jnp.broadcast_to(label, lead + label.shape) * holding_logits
    return TwoHeadTerms(jump, holding)


def two_head_loss(
    jump_logits: Float[Array, "I B S V"],
    holding_logits: Float[Array, "I B S"],
    x: Tokens,
    resampled: Mask,
    unknown: Mask,
    label: Mask,
    jump_weight: Scalar,
    holding_weight: Scalar,
) -> tuple[Scalar, Metrics]:
    """jump_weight * mean CE over resampled cells + holding_weight * mean BCE over unknown cells, in nats.

    Means are pooled over the batch and averaged over the I deep-supervised iterations. A term of weight 0 is masked
    on its inputs, so that an overflow in a head that does not count cannot reach the gradient.
    """
    jump_logits = jnp.where(jnp.asarray(jump_weight) > 0, jump_logits, 0.0)
    holding_logits = jnp.where(jnp.asarray(holding_weight) > 0, holding_logits, 0.0)
    terms = two_head_terms(jump_logits, holding_logits, x, label)
    jump = _pooled(terms.jump, resampled)
    holding = _pooled(terms.holding, unknown)
    loss = jump_weight * jump + holding_weight * holding
    return loss, {"loss": loss, "jump_loss": jump, "holding_loss": holding}


def two_head_metrics(
    jump_logits: Float[Array, "B S V"],
    holding_logits: Float[Array, "B S"],
    x: Tokens,
    resampled: Mask,
    unknown: Mask,
    label: Mask,
    t: Times,
) -> Metrics:
    """What both heads do on one batch, each metric over all cells and by t bin (``"name/t"``, [10]).

    jump_loss, jump_accuracy over resampled cells; holding_loss over unknown cells; score_positive and score_negative,
    the mean holding score on cells labelled 1 and 0 (their difference is the separation); precision and recall of the
    holding head at .5.
    """
    terms = two_head_terms(jump_logits, holding_logits, x, label)
    correct = jnp.argmax(jump_logits, axis=-1) == x
    score = jax.nn.sigmoid(holding_logits.astype(jnp.float32))
    flagged = score > 0.5
    positive, negative = unknown & label, unknown & ~label
    parts = {
        "jump_loss": (terms.jump, resampled),
        "jump_accuracy": (correct, resampled),
        "holding_loss": (terms.holding, unknown),
        "score_positive": (score, positive),
        "score_negative": (score, negative),
        "precision": (label, unknown & flagged),
        "recall": (flagged, positive),
    }
    metrics: Metrics = {}
    bins_BxN = jax.nn.one_hot((t * T_BINS).astype(jnp.int32).clip(0, T_BINS - 1), T_BINS)
    for name, (value, where) in parts.items():
        total_B = jnp.where(where, value.astype(jnp.float32), 0.0).sum(axis=-1)
        count_B = where.sum(axis=-1).astype(jnp.float32)
        metrics[name] = Mean(total_B.sum(), count_B.sum())
        metrics[f"{name}/t"] = Mean(total_B @ bins_BxN, count_B @ bins_BxN)
    return metrics


def _pooled(term: Float[Array, "I B S"], where: Bool[Array, "B S"]) -> Scalar:
    count = jnp.maximum(where.sum(), 1)
    return jnp.where(where[None], term, 0.0).sum(axis=(1, 2)).mean() / count
