"""Upper bounds on -log p(x): nats a token, perplexity and bits a character, with standard errors over sequences.

``elbo`` estimates the bound of a batch (pure, to be jitted); ``summarise`` joins many batches on the host.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Integer

from gidd_jax import corruption, losses, schedules
from gidd_jax.errors import InputError
from gidd_jax.losses import LazyLogits
from gidd_jax.types import PRNGKey

Denoise = Callable[[Int[Array, "B S"], Float[Array, "B"]], Float[Array, "B S V"] | LazyLogits]
"""Noised tokens and each sequence's time -> logits of the clean tokens, given whole or lazily."""


class SequenceNats(NamedTuple):
    """The bound of B sequences, nats summed over their cells: ``path`` + ``reconstruction`` + ``prior``."""

    path: Float[Array, "N B"]  # by bin of the schedule's ``unit_time``, clean to noisy
    reconstruction: Float[Array, "B"]
    prior: Float[Array, "B"]
    tokens: Int[Array, "B"]

    def total(self) -> Float[Array, "B"]:
        return self.path.sum(0) + self.reconstruction + self.prior


class Estimate(NamedTuple):
    """A mean and its standard error over sequences (NaN for one sequence alone)."""

    value: float | Float[Array, ""]
    error: float | Float[Array, ""]


class Bins(NamedTuple):
    """What the noise levels from ``low`` to ``high`` contribute, nats a token, and its standard error; each [N]."""

    low: np.ndarray
    high: np.ndarray
    nats: np.ndarray
    error: np.ndarray


class Likelihood(NamedTuple):
    """The bound over a data set. ``path``, ``reconstruction`` and ``prior`` add up to ``nats_per_token``."""

    nats_per_token: Estimate
    perplexity: Estimate
    bits_per_character: Estimate | None
    path: Bins
    reconstruction: Estimate
    prior: Estimate
    sequences: int
    tokens: int


def elbo(
    key: PRNGKey,
    schedule: schedules.Schedule,
    denoise: Denoise,
    x: Integer[ArrayLike, "B S"],
    valid: Bool[ArrayLike, "B S"] | None = None,
    strata: int = 64,
    draws: int = 1,
    reference: bool = False,
) -> SequenceNats:
    """An unbiased estimate of each sequence's bound on -log p(x), from strata * draws + 1 model calls.

        -log p(x) <= KL(q_1(.|x) || p_1) + int E_{z ~ q_t(.|x)} sum_cells elbo dt + E_{z ~ q_0(.|x)} -log p(x|z)

    with 0 and 1 the ends of the times that ``schedule.time_of`` draws (t = 1e-4 and 1 - 1e-4, or log-SNR +-9), p_1 what
    uniform tokens look like at the noisy end, p(x|z) the last step of the reverse process. Each of ``strata`` equal
    strata of logit(``unit_time``), the log-SNR but for its sign, gets ``draws`` times a sequence: the ELBO's weights,
    like 1 / (t (1 - t)), then cancel. (Strata of t itself leave rare terms of 1e4 times the mean, up to 38 times the
    variance on data that can be enumerated, and an error that does not tell of them.) For ``linear`` at p_uniform 0
    this is the likelihood of masked diffusion (MDLM, LLaDA: cross-entropy / t at masks).

    Cells that are not ``valid`` (padding, a prompt) stay clean and are conditioned on; masks in x never count.
    ``reference``: as the authors report it, without first and last term, the integral as a mean over the clipped times
    (larger by 1/(1 - 2e-4)), cells that are not valid noised like others. Source: arXiv 2503.04482. Consumes ``key``;
    raises InputError for strata or draws below 1.
    """
    if strata < 1 or draws < 1:
        raise InputError(f"likelihood: strata {strata} and draws {draws} must both be at least 1")
    x = jnp.asarray(x)
    counted = (x != schedule.mask_id) & (True if valid is None else jnp.asarray(valid))
    tokens, rows, protected = counted.sum(-1), x.shape[0], None if reference else ~counted
    first, last = (schedule.unit_time(schedule.time_of(end)) for end in (0.0, 1.0))
    low, high = (jnp.log(end) - jnp.log1p(-end) for end in (first, last))

    def summed(cells: Float[Array, "B S"]) -> Float[Array, "B"]:
        return jnp.where(counted, cells, 0.0).sum(-1)

    def gather(path, i):
        k = i % strata
        time_key, noise_key = jax.random.split(jax.random.fold_in(path_key, i))
        logit = low + (high - low) * (k + jax.random.uniform(time_key, (rows,))) / strata
        unit = jax.nn.sigmoid(logit)
        t = schedule.time_of((unit - first) / (last - first))
        z, _ = corruption.corrupt(noise_key, schedule, x, t, protected)
        terms = losses.gidd_terms(schedule, denoise(z, t), x, z, t)
        nats = summed(terms.elbo) * unit * jax.nn.sigmoid(-logit) * (high - low) / (strata * draws)
        bins = jnp.arange(losses.T_BINS)[:, None] == jnp.floor(unit * losses.T_BINS)[None]
        return path + jnp.where(bins, nats[None], 0.0), None

    path_key, clean_key = jax.random.split(key)
    path, _ = jax.lax.scan(gather, jnp.zeros((losses.T_BINS, rows)), jnp.arange(strata * draws))
    if reference:
        return SequenceNats(path / (last - first), jnp.zeros(rows), jnp.zeros(rows), tokens)
    t = jnp.broadcast_to(schedule.time_of(0.0), (rows,))
    z, _ = corruption.corrupt(clean_key, schedule, x, t, protected)
    clean = summed(reconstruction(schedule, denoise(z, t), x, z, t))
    return SequenceNats(path, clean, tokens * prior(schedule), tokens)


def prior(schedule: schedules.Schedule) -> Float[Array, ""]:
    """KL(q_1(.|x) || p_1) of one cell, nats, in closed form, the same for every clean token; q_1 at the noisiest time.

    p_1 is a uniform clean token noised as much: the noise alone, with which ``corruption.prior`` starts, never shows
    what 1e-4 of the cells still show where all noise is masks, and the divergence from it would be infinite there.
    """
    masses, others = schedule.masses(schedule.time_of(1.0)), schedule.vocab_size - 2
    shown, each = masses.keep + masses.uniform, masses.keep / (schedule.vocab_size - 1) + masses.uniform
    xlogy = jax.scipy.special.xlogy
    return xlogy(shown, shown / each) + others * xlogy(masses.uniform, masses.uniform / each)


def reconstruction(
    schedule: schedules.Schedule,
    logits: Float[ArrayLike, "B S V"] | LazyLogits,
    x: Integer[ArrayLike, "B S"],
    z: Integer[ArrayLike, "B S"],
    t: ArrayLike,
) -> Float[Array, "B S"]:
    """-log p(x | z_t) of every cell, nats, f = softmax(logits): what ``sampling.reverse_probs`` gives x for a clean s.

    p(x|z) = (alpha [x = z] + (beta pi)(z)) f(x) / (alpha f(z) + (beta pi)(z)).
    """
    x, z = jnp.asarray(x), jnp.asarray(z)
    log_x, log_z = (-losses.cross_entropy(logits, token, schedule.mask_id) for token in (x, z))
    log_z = jnp.where(z == schedule.mask_id, -jnp.inf, log_z)
    keep = schedules.alpha(schedule, schedules.over_cells(t))
    noise = schedules.mass_at(schedule, t, z)
    evidence = jnp.logaddexp(jnp.log(keep) + log_z, jnp.log(noise))
    return evidence - jnp.log(jnp.where(x == z, keep + noise, noise)) - log_x


def summarise(batches: Iterable[SequenceNats], characters: Sequence[int] | np.ndarray | None = None) -> Likelihood:
    """Batches of ``elbo`` -> nats a token, perplexity and, with each sequence's ``characters`` [N], bits a character.

    All are ratios of sums over sequences, n / m, with the error of a ratio, sqrt(N/(N-1) sum (n_i - (n/m) m_i)^2) / m:
    tokens of one sequence are not independent, sequences are. It holds the noise of the estimate and of the choice of
    sequences together. Raises InputError without a token, or where ``characters`` has another length.
    """
    batches = [jax.tree.map(np.float64, jax.device_get(batch)) for batch in batches]
    tokens = np.concatenate([np.zeros(0), *(batch.tokens for batch in batches)])
    if not tokens.sum() > 0:
        raise InputError("likelihood: no token to count, give at least one batch with one valid cell")
    clean, noisy = (np.concatenate(part) for part in zip(*((b.reconstruction, b.prior) for b in batches), strict=True))
    path = np.concatenate([batch.path for batch in batches], axis=1)
    total = path.sum(0) + clean + noisy
    rate = ratio(total, tokens)
    edges, by_bin = np.linspace(0, 1, len(path) + 1), [ratio(share, tokens) for share in path]
    return Likelihood(
        rate,
        Estimate(math.exp(rate.value), math.exp(rate.value) * rate.error),
        None if characters is None else ratio(total / math.log(2), _characters(characters, len(tokens))),
        Bins(edges[:-1], edges[1:], *(np.array(column) for column in zip(*by_bin, strict=True))),
        ratio(clean, tokens),
        ratio(noisy, tokens),
        len(tokens),
        int(tokens.sum()),
    )


def ratio(numerator: np.ndarray | Array, denominator: np.ndarray | Array) -> Estimate:
    """sum n / sum m over N independent pairs, with the standard error of the ratio to first order in 1/N.

    Of numpy arrays on the host, or of traced ones. The error of one pair alone is NaN.
    """
    count, whole = len(numerator), denominator.sum()
    value = numerator.sum() / whole
    scatter = ((numerator - value * denominator) ** 2).sum()
    return Estimate(value, (scatter * count / (count - 1)) ** 0.5 / whole if count > 1 else math.nan * value)


def _characters(characters: Sequence[int] | np.ndarray, sequences: int) -> np.ndarray:
    found = np.asarray(characters, np.float64)
    if found.shape != (sequences,) or not found.sum() > 0:
        raise InputError(f"likelihood: characters of shape {found.shape}, one count for each of {sequences} sequences")
    return found
