"""Logits of the jump and the holding head -> per-cell terms in nats -> (scalar loss, Metrics). Float32 inside."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gidd_jax.losses.bins import by_time
from gidd_jax.types import Mask, Mean, Metrics, Scalar, Times, Tokens

NEAR_ZERO = 1e-6
"""The posts' Itakura-Saito target for a cell that was not resampled, and the least score they let it divide by."""


class Noised(NamedTuple):
    """Corrupted sequences and what is known about them; tokens of ``x`` run from 0, ``z`` may hold the mask too."""

    x: Tokens
    z: Tokens
    given: Mask  # never corrupted, in no loss
    resampled: Mask
    label: Mask  # what the holding head is asked
    t: Times  # [B]


class TwoHeadWeights(NamedTuple):
    """Weight of each term in the loss; one of weight 0 reaches neither the loss nor a gradient.

    jump: CE over resampled cells; holding: BCE over unknown cells; divergence: ``holding_divergence`` over unknown
    cells (the posts' attempt 1); divergence_resampled: the same over resampled cells alone (attempt 2); interpolating:
    ``interpolating_divergence`` over unknown cells (GIDD's own).
    """

    jump: Scalar = 1.0
    holding: Scalar = 1.0
    divergence: Scalar = 0.0
    divergence_resampled: Scalar = 0.0
    interpolating: Scalar = 0.0


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


def holding_divergence(holding_logits: Float[Array, "*I B S"], label: Mask) -> Float[Array, "*I B S"]:
    """The posts' Itakura-Saito term D(a : b) = a/b - log(a/b) - 1 of the score b, a = 1 or 1e-6 by the label, nats.

    b is clamped at 1e-6. A Bregman divergence, so its best b is the mean of a, like that of any proper loss; but under
    a target near 0 it carries the constant -log 1e-6 = 13.8 nats for every cell that is not labelled, which no head can
    take away: a head that says .5 everywhere has 6.21 at t ~ U(0,1), one that knows t alone 5.9, the oracle about 5.2.
    It is not GIDD's term, which compares mixtures that are never near 0: see ``interpolating_divergence``.
    """
    log_score = jnp.maximum(jax.nn.log_sigmoid(holding_logits.astype(jnp.float32)), math.log(NEAR_ZERO))
    log_target = jnp.broadcast_to(jnp.where(label, 0.0, math.log(NEAR_ZERO)), log_score.shape)
    return jnp.exp(log_target - log_score) - (log_target - log_score) - 1


def interpolating_divergence(
    jump_logits: Float[Array, "*I B S V"], holding_logits: Float[Array, "*I B S"], shown: Noised
) -> Float[Array, "*I B S"]:
    """GIDD's Itakura-Saito term under uniform noise, of both heads together, [..., B, S] nats.

    D(q : p) at the token z that is seen, q = (1 - t) [z = x] + t / V and p = (1 - t) b(z) + t / V, where b(z) = 1 - h +
    h jump(z) is what the heads believe about the clean token being z (h the holding score). arXiv 2503.04482.
    """
    jump_logits, holding_logits = jump_logits.astype(jnp.float32), holding_logits.astype(jnp.float32)
    tokens = jump_logits.shape[-1]
    # A token that the jump head has no logit for is the mask: nothing is compared there.
    seen = shown.z < tokens
    lead = holding_logits.shape
    at_z = jnp.broadcast_to(jnp.where(seen, shown.z, 0), lead)[..., None]
    jump_z = jnp.take_along_axis(jax.nn.softmax(jump_logits), at_z, axis=-1)[..., 0]
    h, t = jax.nn.sigmoid(holding_logits), jnp.reshape(shown.t, (-1, 1))
    q = jnp.broadcast_to((1 - t) * (shown.z == shown.x) + t / tokens, lead)
    keep, noise = (jnp.broadcast_to(mass, lead) for mass in (1 - t, t / tokens))
    ratio = q / (keep * (1 - h + h * jump_z) + noise)
    return jnp.where(jnp.broadcast_to(seen, lead), ratio - jnp.log(ratio) - 1, 0.0)


def two_head_loss(
    jump_logits: Float[Array, "I B S V"],
    holding_logits: Float[Array, "I B S"],
    shown: Noised,
    weights: TwoHeadWeights,
) -> tuple[Scalar, Metrics]:
    """The weighted sum of the terms in ``TwoHeadWeights``, in nats, and jump and holding loss by themselves.

    Means are pooled over the batch and averaged over the I deep-supervised iterations. A term of weight 0 is masked
    on its inputs, so that an overflow in a head that does not count cannot reach the gradient.
    """

    def kept(weight: Scalar, *logits: Array) -> list[Array]:
        return [jnp.where(jnp.asarray(weight) > 0, x, 0.0) for x in logits]

    jump_in, holding_in = *kept(weights.jump, jump_logits), *kept(weights.holding, holding_logits)
    terms = two_head_terms(jump_in, holding_in, shown.x, shown.label)
    unknown = ~shown.given
    jump, holding = _pooled(terms.jump, shown.resampled), _pooled(terms.holding, unknown)
    divergence = holding_divergence(*kept(weights.divergence, holding_logits), shown.label)
    resampled = holding_divergence(*kept(weights.divergence_resampled, holding_logits), shown.resampled)
    both = kept(weights.interpolating, jump_logits, holding_logits)
    loss = (
        weights.jump * jump
        + weights.holding * holding
        + weights.divergence * _pooled(divergence, unknown)
        + weights.divergence_resampled * _pooled(resampled, shown.resampled)
        + weights.interpolating * _pooled(interpolating_divergence(*both, shown), unknown)
    )
    return loss, {"loss": loss, "jump_loss": jump, "holding_loss": holding}


def two_head_metrics(jump_logits: Float[Array, "B S V"], holding_logits: Float[Array, "B S"], shown: Noised) -> Metrics:
    """What both heads do on one batch, each metric over all cells and by t bin (``"name/t"``, [10]).

    jump_loss, jump_accuracy over resampled cells; holding_loss, holding_divergence and interpolating_divergence over
    unknown cells; score_positive and score_negative, the mean holding score on cells labelled 1 and 0 (their difference
    is the separation); precision and recall of the holding head at .5.
    """
    terms = two_head_terms(jump_logits, holding_logits, shown.x, shown.label)
    correct = jnp.argmax(jump_logits, axis=-1) == shown.x
    score = jax.nn.sigmoid(holding_logits.astype(jnp.float32))
    flagged, unknown = score > 0.5, ~shown.given
    positive, negative = unknown & shown.label, unknown & ~shown.label
    parts = {
        "jump_loss": (terms.jump, shown.resampled),
        "jump_accuracy": (correct, shown.resampled),
        "holding_loss": (terms.holding, unknown),
        "holding_divergence": (holding_divergence(holding_logits, shown.label), unknown),
        "interpolating_divergence": (interpolating_divergence(jump_logits, holding_logits, shown), unknown),
        "score_positive": (score, positive),
        "score_negative": (score, negative),
        "precision": (shown.label, unknown & flagged),
        "recall": (flagged, positive),
    }
    metrics: Metrics = {}
    for name, (value, where) in parts.items():
        total = jnp.where(where, value.astype(jnp.float32), 0.0).sum()
        metrics[name] = Mean(total, where.sum().astype(jnp.float32))
        metrics[f"{name}/t"] = by_time(value, where, shown.t)
    return metrics


def _pooled(term: Float[Array, "I B S"], where: Bool[Array, "B S"]) -> Scalar:
    count = jnp.maximum(where.sum(), 1)
    return jnp.where(where[None], term, 0.0).sum(axis=(1, 2)).mean() / count
