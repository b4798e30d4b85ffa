"""GIDD: logits -> KL, Itakura-Saito and ELBO of every cell in nats -> (scalar loss, metrics). arXiv 2503.04482."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer

from gidd_jax import schedules
from gidd_jax.errors import InputError
from gidd_jax.losses.bins import by_time
from gidd_jax.losses.divergence import compute_dtype
from gidd_jax.losses.head import LazyLogits, cell_divergences
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
    logits: Float[ArrayLike, "B S V"] | LazyLogits,
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
) -> GiddTerms:
    """KL(q_t(.|x) || p_t), Itakura-Saito at z, ELBO weight and their product, each [B,S] nats; t scalar, [B] or [B,S].

    -log p(x) <= E_{t,z} sum_cells elbo + prior and reconstruction terms. The softmax leaves out the mask's column; in
    columns >= vocab_size, a head padded to a round width, q_t is 0. Cells with x = mask are 0. Float32 inside, or
    float64 for float64 logits. Gradients flow into the logits only, or into what makes ``LazyLogits``. InputError for
    logits narrower than the vocabulary.

    >>> schedule = schedules.linear(vocab_size=3, mask_id=2)
    >>> x, z = jnp.array([[0, 1]]), jnp.array([[2, 1]])  # the first cell is masked
    >>> terms = losses.gidd_terms(schedule, jnp.zeros((1, 2, 3)), x, z, t=0.5)
    >>> print(terms.elbo.round(4))  # ln 2 / t where masked, nothing where shown
    [[1.3863 0.    ]]
    """
    logits = logits if isinstance(logits, LazyLogits) else jnp.asarray(logits)
    x, z, ids = jnp.asarray(x), jnp.asarray(z), (schedule.vocab_size, schedule.mask_id)
    if logits.shape[-1] < schedule.vocab_size:
        raise InputError(
            f"logits of {logits.shape[-1]} columns cannot cover a vocabulary of {schedule.vocab_size} tokens"
        )
    dtype = compute_dtype(logits)
    masses = jax.lax.stop_gradient(schedule.masses(schedules.over_cells(t)))
    keep, uniform = (jnp.broadcast_to(mass.astype(dtype), x.shape) for mass in (masses.keep, masses.uniform))
    kl, itakura_saito = cell_divergences(*ids, logits, x, z, keep, uniform)
    weight = jnp.where(x == schedule.mask_id, 0.0, schedules.elbo_weight(schedule, x, z, t))
    weight = jax.lax.stop_gradient(weight.astype(dtype))
    elbo = jnp.clip(weight, 0.0, MAX_ELBO_WEIGHT) * (kl + itakura_saito)
    return GiddTerms(kl, itakura_saito, weight, elbo)


def gidd_loss(
    schedule: schedules.Schedule,
    logits: Float[ArrayLike, "B S V"] | LazyLogits,
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
    Metrics: loss; elbo, mean over valid cells; kl_loss and is_loss, means weighted as the loss is; elbo/t, kl/t, is/t:
    unweighted means in each of ten bins of the schedule's ``unit_time``, which is 1 - alpha for log-SNR.

    >>> schedule = schedules.linear(vocab_size=3, mask_id=2)
    >>> x, z = jnp.array([[0, 1]]), jnp.array([[2, 1]])
    >>> loss, metrics = losses.gidd_loss(schedule, jnp.zeros((1, 2, 3)), x, z, t=0.5, weighting="elbo")
    >>> round(float(loss), 4)  # a mean over both cells
    0.6931
    """
    terms = gidd_terms(schedule, logits, x, z, t)
    weight = loss_weight(schedule, x, z, t, weighting, min_weight, max_weight).astype(terms.kl.dtype)
    weight = jax.lax.stop_gradient(weight)
    valid = jnp.ones(terms.kl.shape, bool) if valid is None else jnp.asarray(valid)
    counted = valid.astype(terms.kl.dtype)
    kl, itakura_saito = ((weight * counted * term).sum() for term in (terms.kl, terms.itakura_saito))
    cells, weights = jnp.maximum(counted.sum(), 1.0), jnp.maximum((weight * counted).sum(), 1e-30)
    loss = (kl + is_weight * itakura_saito) / cells
    metrics = {
        "loss": loss,
        "elbo": (terms.elbo * counted).sum() / cells,
        "kl_loss": kl / weights,
        "is_loss": itakura_saito / weights,
    }
    by_bin = {"elbo/t": terms.elbo, "kl/t": terms.kl, "is/t": terms.itakura_saito}
    time = schedule.unit_time(t)
    return loss, metrics | {name: by_time(value, valid, time) for name, value in by_bin.items()}


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
    """D_IS(a : b) = a/b - log(a/b) - 1, elementwise over broadcast shapes, in nats; 0 where a = b, for a, b > 0.

    >>> round(float(losses.itakura_saito(2.0, 1.0)), 4)  # 2 - ln 2 - 1
    0.3069
    """
    ratio = jnp.asarray(a) / jnp.asarray(b)
    return ratio - jnp.log(ratio) - 1
