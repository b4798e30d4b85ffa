"""Transitions: does a system of many parts have one in its dial, where, and of which order.

Everything starts from r [seeds, K], the order parameter of each seed at rising values K of the dial, for one or several
sizes N. Seeds are the unit of resampling: a seed keeps all its K, so curves stay paired. What each test needs and where
it fails is told in docs/transitions.md.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtrit

from gidd_jax.analysis.intervals import Interval
from gidd_jax.errors import InputError

RESAMPLES = 400
CLEAR = 0.25
"""Spread over mean below which r counts as ordered: closer to the transition its mean is a matter of size."""
LEAST_POINTS = 5
BEND = 0.75
"""p of u = 1 - (K_c/K)^p. What the fit leaves out is of third order in K - K_c and has a sign: on the r of infinitely
many gaussian oscillators from 1.06 to 1.5 K_c beta comes out .53 at p = 1 and .46 at p -> 0; docs/transitions.md."""


class PowerLaw(NamedTuple):
    """ln r = c + beta ln u + d u, u = 1 - (K_c / K)^(3/4): critical point, exponent, and the K that were fitted."""

    critical: Interval
    exponent: Interval
    used: np.ndarray


class Sharpening(NamedTuple):
    """max_K d ln r / dK ~ N^exponent: the steepest slope at each size, and p of an exponent of 0 or less."""

    sizes: np.ndarray
    steepness: np.ndarray
    exponent: Interval
    p: float


class Verdict(NamedTuple):
    """The order of the transition, continuous, discontinuous, undecided or none, and what that rests on.

    ``law`` is None where there is no transition, or r is nowhere clear of its fluctuations. Of a jump its K_c is only
    a rough one: the exponent is what tells.
    """

    order: str
    sharpening: Sharpening
    law: PowerLaw | None


def susceptibility(r: ArrayLike, N: int, axis: int = 0) -> np.ndarray | float:
    """N Var(r) over ``axis`` (seeds or time), dimensionless; at a transition its peak grows with N."""
    return N * np.var(np.asarray(r, float), axis=axis, ddof=1)


def binder_cumulant(second: ArrayLike, fourth: ArrayLike, axis: int = 0) -> np.ndarray | float:
    """U = 1 - <r^4> / (3 <r^2>^2) over ``axis`` (Binder 1981): 2/3 where r is sharp, 1/3 for free phases.

    Curves of different N cross near K_c. ``second`` and ``fourth`` are (time means of) r^2 and r^4.
    """
    return 1 - np.mean(fourth, axis=axis) / (3 * np.mean(second, axis=axis) ** 2)


def crossings(K: ArrayLike, first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """The K at which the broken line ``second`` [K] overtakes or falls below ``first`` [K], rising."""
    K, gap = np.asarray(K, float), np.asarray(second, float) - np.asarray(first, float)
    at = np.flatnonzero((gap[:-1] * gap[1:] < 0) | ((gap[:-1] == 0) & (gap[1:] != 0)))
    return K[at] + (K[at + 1] - K[at]) * gap[at] / (gap[at] - gap[at + 1])


def binder_crossing(
    K: ArrayLike, smaller: tuple[ArrayLike, ArrayLike], larger: tuple[ArrayLike, ArrayLike], seed: int = 0
) -> Interval:
    """Where the larger size's U rises above the smaller one's for good, with its 95 % bootstrap interval over seeds.

    Each size is (r^2, r^4), both [seeds, K]. NaN where they do not cross; n counts the resamples that do. The crossing
    nears K_c as N grows; at a given N it is beside it.
    """
    rng = np.random.default_rng(seed)

    def last(rows: list[np.ndarray]) -> float:
        sizes = zip((smaller, larger), rows, strict=True)
        U = [binder_cumulant(*(np.asarray(moment)[at] for moment in size)) for size, at in sizes]
        found = crossings(K, *U)
        return float(found[-1]) if len(found) and U[1][-1] >= U[0][-1] else np.nan

    counts = [len(size[0]) for size in (smaller, larger)]
    drawn = np.array([last([rng.integers(n, size=n) for n in counts]) for _ in range(RESAMPLES)])
    return _percentiles(last([np.arange(n) for n in counts]), drawn)


def sharpening(K: ArrayLike, curves: Mapping[int, ArrayLike], seed: int = 0) -> Sharpening:
    """Does the rise of ln r sharpen with size? The steepest slope between neighbouring K, and its power of N.

    At a transition d ln r / dK = N^{1/nu} F'/F grows without bound; a smooth crossover keeps its width. ``curves`` is
    {N: r [seeds, K]}. p is one-sided, from the bootstrap spread over seeds. Raises InputError for fewer than 3 sizes.
    """
    if len(curves) < 3:
        raise InputError(f"sharpening compares 3 sizes or more; got {len(curves)}")
    rng, K = np.random.default_rng(seed), np.asarray(K, float)
    sizes = np.array(sorted(curves))
    cleaned = [_clean(curves[N], K) for N in sizes]
    slopes = np.stack([_steepest(K, r, _resampled_means(r, rng)) for r in cleaned], axis=1)
    steepness = np.concatenate([_steepest(K, r, r.mean(axis=0)[None]) for r in cleaned])
    log = np.log(sizes) - np.log(sizes).mean()
    exponents = np.log(slopes) @ log / (log @ log)
    exponent = float(np.log(steepness) @ log / (log @ log))
    p = float(ndtr(-exponent / exponents.std(ddof=1)))
    return Sharpening(sizes, steepness, _percentiles(exponent, exponents), p)


def power_law(K: ArrayLike, r: ArrayLike, seed: int = 0) -> PowerLaw | None:
    """Critical point and exponent from r [seeds, K] of the largest size, with 95 % bootstrap intervals over seeds.

    Fits ln <r^2> / 2 = c + beta ln u + d u, u = 1 - (K_c/K)^(3/4), to the K beyond the steepest rise from where on r
    stays clear of its fluctuations (spread over seeds below a quarter of the mean), chosen anew in every resample. In
    mean-field theories r^2 is analytic in K there; K to 1.5 or 1.8 K_c serve. A beta near 0 says that r jumps. None
    where fewer than 5 such K are left.
    """
    K, r = np.asarray(K, float), _clean(r, np.asarray(K, float))
    # Each seed has a K_c of its own and r^2 is nearly linear in K - K_c: its mean over seeds is right where that of r
    # is too low.
    counts = _resamplings(len(r), np.random.default_rng(seed))
    counts = np.concatenate([np.full((1, len(r)), 1 / len(r)), counts])
    means, squares = counts @ r, counts @ r**2
    spread = np.sqrt(np.maximum(squares - means**2, 0) * len(r) / (len(r) - 1))
    unclear = spread >= CLEAR * means
    first = np.where(unclear.any(axis=1), len(K) - np.argmax(unclear[:, ::-1], axis=1), 0)
    # Seeds that share their disorder agree on either side: what lies before the steepest rise is no order.
    first = np.maximum(first, np.argmax(np.diff(np.log(np.maximum(means, 1e-9)), axis=1) / np.diff(K), axis=1) + 1)
    if len(K) - first[0] < LEAST_POINTS:
        return None
    first = np.minimum(first, len(K) - LEAST_POINTS)
    weights = means[0] / np.maximum(spread[0], 1e-6 * means[0])
    critical, exponent = np.empty(len(first)), np.empty(len(first))
    for start in np.unique(first):
        own = first == start
        critical[own], exponent[own] = _fit_power(K[start:], np.log(squares[own, start:]) / 2, weights[start:])
    intervals = [_widened(_percentiles(x[0], x[1:]), len(r)) for x in (critical, exponent)]
    return PowerLaw(*intervals, K[first[0] :])


def verdict(K: ArrayLike, curves: Mapping[int, ArrayLike], alpha: float = 0.05, seed: int = 0) -> Verdict:
    """Is there a transition, and of which order? ``curves`` is {N: r [seeds, K]}, 3 sizes or more.

    "none" unless the rise sharpens with size at level alpha. Then by the exponent's interval at the largest size: above
    1/4 "continuous", below 1/4 "discontinuous", else "undecided".
    """
    sharp = sharpening(K, curves, seed)
    if sharp.p > alpha:
        return Verdict("none", sharp, None)
    law = power_law(K, curves[max(curves)], seed)
    if law is not None and law.exponent.low > 0.25:
        return Verdict("continuous", sharp, law)
    if law is not None and law.exponent.high < 0.25:
        return Verdict("discontinuous", sharp, law)
    return Verdict("undecided", sharp, law)


def bimodality(r: ArrayLike, axis: int = 0) -> np.ndarray | float:
    """Sarle's coefficient (skewness^2 + 1) / kurtosis: 5/9 for a uniform density, 1 for two points, 1/3 for a Gaussian.

    Above 5/9 over seeds at one K, two levels coexist, as at a jump.
    """
    r = np.asarray(r, float)
    z = r - r.mean(axis=axis, keepdims=True)
    second, third, fourth = (np.mean(z**power, axis=axis) for power in (2, 3, 4))
    return (third**2 / second**3 + 1) / (fourth / second**2)


def loop_area(K: ArrayLike, up: ArrayLike, down: ArrayLike, seed: int = 0) -> Interval:
    """Area between the ways down and up, integral of r_down - r_up dK: mean over seeds, 95 % bootstrap interval.

    ``up`` and ``down`` are [seeds, K] at the same K, in units of K. An area that stays as the ramp slows is hysteresis;
    one that shrinks with the ramp's speed is only lag.
    """
    areas = np.trapezoid(np.asarray(down, float) - np.asarray(up, float), np.asarray(K, float), axis=1)
    rng = np.random.default_rng(seed)
    return _percentiles(float(areas.mean()), _resampled_means(areas[:, None], rng)[:, 0])


def _clean(r: ArrayLike, K: np.ndarray) -> np.ndarray:
    r = np.asarray(r, float)
    if r.ndim != 2 or r.shape[1] != len(K) or len(r) < 3 or np.any(np.diff(K) <= 0):
        raise InputError(f"curves are r [seeds, K] at rising K with 3 seeds or more; got {r.shape} for {len(K)} K")
    r = r[np.isfinite(r).all(axis=1)]
    if len(r) < 3:
        raise InputError(f"{len(r)} seeds lived at every K; at least 3 are needed")
    return r


def _resampled_means(r: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means over resampled seeds [RESAMPLES, K]."""
    return _resamplings(len(r), rng) @ r


def _resamplings(seeds: int, rng: np.random.Generator) -> np.ndarray:
    """The share of each seed in each resample [RESAMPLES, seeds]."""
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds


def _steepest(K: np.ndarray, r: np.ndarray, means: np.ndarray) -> np.ndarray:
    """max d ln r / dK of each row of means; a mean below two standard errors counts as that much, not as next to 0."""
    floor = np.maximum(2 * r.std(axis=0, ddof=1) / np.sqrt(len(r)), 1e-12)
    return np.maximum((np.diff(np.log(np.maximum(means, floor)), axis=1) / np.diff(K)).max(axis=1), 1e-12)


def _fit_power(K: np.ndarray, log_r: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """K_c and beta of each row of log_r [rows, K]: a fine grid of K_c, the rest linear in it."""
    grid = K[0] * (1 - np.geomspace(0.6, 2e-3, 800))
    y = log_r * weights
    best, critical, exponent = np.full(len(y), np.inf), np.empty(len(y)), np.empty(len(y))
    for candidate in grid:
        u = 1 - (candidate / K) ** BEND
        q, triangle = np.linalg.qr(np.stack([np.ones_like(u), u, np.log(u)], axis=1) * weights[:, None])
        along = y @ q
        left = (y**2).sum(axis=1) - (along**2).sum(axis=1)
        better = left < best
        best[better], critical[better] = left[better], candidate
        exponent[better] = along[better, 2] / triangle[2, 2]
    return critical, exponent


def _percentiles(estimate: float, drawn: np.ndarray) -> Interval:
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < RESAMPLES // 2:
        return Interval(estimate, np.nan, np.nan, len(drawn))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(estimate, float(low), float(high), len(drawn))


def _widened(interval: Interval, seeds: int) -> Interval:
    """A percentile interval as wide as few seeds make it: Student's quantile for the normal one, n - 1 for n."""
    wider = stdtrit(seeds - 1, 0.975) / ndtri(0.975) * np.sqrt(seeds / (seeds - 1))
    low, high = (interval.mean + wider * (end - interval.mean) for end in (interval.low, interval.high))
    return interval._replace(low=float(low), high=float(high))
