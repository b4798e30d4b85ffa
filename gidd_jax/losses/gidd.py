"""GIDD: logits -> KL, Itakura-Saito and ELBO of every cell in nats -> (scalar loss, metrics). arXiv 2503.04482."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer

from gidd_jax import schedules
from gidd_jax.errors import InputError
from gidd_jax.losses.divergence import Pair, compute_dtype, divergences
from gidd_jax.losses.head import divergences_from_features
from gidd_jax.types import Metrics

MAX_ELBO_WEIGHT = 1e6


class GiddTerms(NamedTuple):
    """Of every cell, [B,S], nats: elbo = elbo_weight (kl + itakura_saito), the weight held in [0, 1e6] there."""

    kl: Float[Array, "*n"]
    itakura_saito: Float[Array, "*n"]
    elbo_weight: Float[Array, "*n"]
    elbo: Float[Array, "*n"]


def gidd_terms(
    schedule: schedules.Schedule,
    logits: Float[ArrayLike, "B S V"],
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
) -> GiddTerms:
    """KL(q_t(.|x) || p_t), Itakura-Saito at z, ELBO weight and their product, each [B,S] nats; t scalar, [B] or [B,S].

    -log p(x) <= E_{t,z} sum_cells elbo + prior and reconstruction terms. The softmax leaves out the mask's column; in
    columns >= vocab_size, a head padded to a round width, q_t is 0. Cells with x = mask are 0. Float32 inside, or
    float64 for float64 logits. Gradients flow into the logits only. InputError for logits narrower than the vocabulary.
    """
    logits, x, z = jnp.asarray(logits), jnp.asarray(x), jnp.asarray(z)
    _check_width(schedule, logits.shape[-1])
    dtype = compute_dtype(logits)
    pair = divergences(schedule.vocab_size, schedule.mask_id, logits, x, z, *_noise(schedule, t, x.shape, dtype))
    return _terms(schedule, pair, x, z, t)


def gidd_terms_from_features(
    schedule: schedules.Schedule,
    features: Float[ArrayLike, "B S D"],
    head: Float[ArrayLike, "D V"],
    bias: Float[ArrayLike, "V"] | None,
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
    chunk: int = 1024,
) -> GiddTerms:
    """``gidd_terms`` of logits = features head + bias, ``chunk`` cells at a time, forward and backward.

    Temporary memory is a few times chunk x V and one gradient of the head, whatever B and S: for vocabularies whose
    logits do not fit. The backward computes the logits again (a third more matmul work than keeping them).
    """
    features, head, x, z = jnp.asarray(features), jnp.asarray(head), jnp.asarray(x), jnp.asarray(z)
    bias = jnp.zeros(head.shape[-1], head.dtype) if bias is None else jnp.asarray(bias)
    _check_width(schedule, head.shape[-1])
    noise = _noise(schedule, t, x.shape, compute_dtype(features, head))
    ids = (schedule.vocab_size, schedule.mask_id)
    return _terms(schedule, divergences_from_features(*ids, chunk, features, head, bias, x, z, *noise), x, z, t)


def gidd_loss(
    schedule: schedules.Schedule,
    logits: Float[ArrayLike, "B S V"],
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
    weighting: str = "dynamic",
    min_weight: ArrayLike = 0.0,
    max_weight: ArrayLike = 2.0,
    valid: Bool[ArrayLike, "B S"] | None = None,
    is_weight: ArrayLike = 1.0,
) -> tuple[Float[Array, ""], Metrics]:
    """Mean over valid cells of weight (KL + is_weight IS), nats -> (scalar, metrics). Weights carry no gradient.

    - "dynamic": 2 at the mask, 1 at noise, ``schedule.dynamic_clean`` at z = x, clipped; what the authors' code does.
    - "paper": the same with uniform / keep at z = x, the paper's formula (the code's sigmoid stands for a logit).
    - "clip": the ELBO weight clipped to [min_weight, max_weight];  "elbo": the ELBO weight itself.
    - "snr": the ELBO weight times the density of the log-SNR, the loss of arXiv 2512.10858.

    Under "dynamic" a max_weight below 2 takes the mask's weight down. Without ``valid`` every cell counts, padding too.
    Metrics: loss; elbo, mean over valid cells; kl_loss and is_loss, means weighted as the loss is.
    """
    terms = gidd_terms(schedule, logits, x, z, t)
    return weigh(schedule, terms, x, z, t, weighting, min_weight, max_weight, valid, is_weight)


def gidd_loss_from_features(
    schedule: schedules.Schedule,
    features: Float[ArrayLike, "B S D"],
    head: Float[ArrayLike, "D V"],
    bias: Float[ArrayLike, "V"] | None,
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
    weighting: str = "dynamic",
    min_weight: ArrayLike = 0.0,
    max_weight: ArrayLike = 2.0,
    valid: Bool[ArrayLike, "B S"] | None = None,
    is_weight: ArrayLike = 1.0,
    chunk: int = 1024,
) -> tuple[Float[Array, ""], Metrics]:
    """``gidd_loss`` with the head's matmul inside, ``chunk`` cells at a time (see ``gidd_terms_from_features``)."""
    terms = gidd_terms_from_features(schedule, features, head, bias, x, z, t, chunk)
    return weigh(schedule, terms, x, z, t, weighting, min_weight, max_weight, valid, is_weight)


def weigh(
    schedule: schedules.Schedule,
    terms: GiddTerms,
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
    weighting: str = "dynamic",
    min_weight: ArrayLike = 0.0,
    max_weight: ArrayLike = 2.0,
    valid: Bool[ArrayLike, "B S"] | None = None,
    is_weight: ArrayLike = 1.0,
) -> tuple[Float[Array, ""], Metrics]:
    """The scalar loss and metrics of terms already computed; see ``gidd_loss``."""
    weight = loss_weight(schedule, x, z, t, weighting, min_weight, max_weight).astype(terms.kl.dtype)
    weight = jax.lax.stop_gradient(weight)
    counted = jnp.ones_like(terms.kl) if valid is None else jnp.asarray(valid).astype(terms.kl.dtype)
    kl, itakura_saito = ((weight * counted * term).sum() for term in (terms.kl, terms.itakura_saito))
    cells, weights = jnp.maximum(counted.sum(), 1.0), jnp.maximum((weight * counted).sum(), 1e-30)
    loss = (kl + is_weight * itakura_saito) / cells
    metrics = {
        "loss": loss,
        "elbo": (terms.elbo * counted).sum() / cells,
        "kl_loss": kl / weights,
        "is_loss": itakura_saito / weights,
    }
    return loss, metrics


def loss_weight(
    schedule: schedules.Schedule,
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
    weighting: str = "dynamic",
    min_weight: ArrayLike = 0.0,
    max_weight: ArrayLike = 2.0,
) -> Float[Array, "B S"]:
    """Weight of KL + IS in the loss, [B,S]; the weightings are those of ``gidd_loss``, others raise InputError."""
    x, z, t = jnp.asarray(x), jnp.asarray(z), schedules.over_cells(t)
    if weighting in ("dynamic", "paper"):
        clean = schedule.dynamic_clean(t) if weighting == "dynamic" else schedules.paper_clean(schedule, t)
        kinds = schedules.Weights(jnp.full_like(clean, 2.0), clean, jnp.ones_like(clean))
        weight = kinds.at(z == schedule.mask_id, z == x)
        return jnp.clip(weight, min_weight, max_weight)
    weight = schedules.elbo_weight(schedule, x, z, t)
    if weighting == "clip":
        return jnp.clip(weight, min_weight, max_weight)
    if weighting == "elbo":
        return jnp.clip(weight, 0.0, MAX_ELBO_WEIGHT)
    if weighting == "snr":
        return jnp.clip(weight * schedule.snr_density(t), 0.0, 1e3)
    raise InputError(f"weighting {weighting!r} is not one of dynamic, paper, clip, elbo, snr")


def itakura_saito(a: Float[ArrayLike, "..."], b: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """D_IS(a : b) = a/b - log(a/b) - 1, elementwise over broadcast shapes, in nats; 0 where a = b, for a, b > 0."""
    ratio = jnp.asarray(a) / jnp.asarray(b)
    return ratio - jnp.log(ratio) - 1


def _terms(schedule, pair: Pair, x, z, t) -> GiddTerms:
    weight = schedules.elbo_weight(schedule, x, z, t)
    weight = jax.lax.stop_gradient(jnp.where(x == schedule.mask_id, 0.0, weight).astype(pair.kl.dtype))
    elbo = jnp.clip(weight, 0.0, MAX_ELBO_WEIGHT) * (pair.kl + pair.itakura_saito)
    return GiddTerms(pair.kl, pair.itakura_saito, weight, elbo)


def _noise(schedule, t, shape, dtype) -> tuple[Float[Array, "B S"], Float[Array, "B S"]]:
    masses = jax.lax.stop_gradient(schedule.masses(schedules.over_cells(t)))
    keep, uniform = (jnp.broadcast_to(mass.astype(dtype), shape) for mass in (masses.keep, masses.uniform))
    return keep, uniform


def _check_width(schedule, width: int) -> None:
    if width < schedule.vocab_size:
        raise InputError(f"logits of {width} columns cannot cover a vocabulary of {schedule.vocab_size} tokens")
