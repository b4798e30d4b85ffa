"""Finite sizes: what N oscillators do where infinitely many are at rest, and the collapse of all sizes on one curve."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import j0, wofz

from gidd_jax.analysis.intervals import Interval
from gidd_jax.errors import InputError

DEGREE = 4
RESAMPLES = 60


class Collapse(NamedTuple):
    """r N^{beta/nu} = F((K - K_c) N^{1/nu}): the three numbers, and chi^2 per degree of freedom (1 if it fits)."""

    critical: Interval
    inverse_nu: Interval
    beta_over_nu: Interval
    chi2: float


def incoherent_r(N: int) -> float:
    """E[r] of N independent phases, (1/N) int_0^inf (1 - J_0(s)^N) / s^2 ds; near sqrt(pi / 4N). E[r^2] is 1/N."""
    step, end = 0.005, 1000.0
    s = np.arange(step / 2, end, step)
    return float((np.sum((1 - j0(s) ** N) / s**2) * step + 1 / end) / N)


def subcritical_square(K: float, distribution: str, scale: float = 1.0) -> float:
    """N <r^2> of many oscillators below K_c (Daido 1990): 1 at K = 0, growing without bound towards K_c.

    Lorentzian 1 / (1 - K/K_c); gaussian int g |1 - (K/2) H|^{-2} domega, H = sqrt(pi/2) w(omega / sqrt 2) at scale 1.
    Raises InputError for other distributions and from K_c on.
    """
    k = K / scale
    if distribution == "lorentzian" and 0 <= k < 2:
        return 1 / (1 - k / 2)
    if distribution == "gaussian" and 0 <= k < np.sqrt(8 / np.pi):
        omega = np.linspace(-12, 12, 48_001)
        response = 1 - k / 2 * np.sqrt(np.pi / 2) * wofz(omega / np.sqrt(2))
        return float(np.trapezoid(np.exp(-(omega**2) / 2) / np.sqrt(2 * np.pi) / np.abs(response) ** 2, omega))
    raise InputError(f"N <r^2> is known for lorentzian and gaussian below K_c, not {distribution} at K/scale {k:g}")


def collapse(
    K: ArrayLike, curves: Mapping[int, ArrayLike], critical: float, inverse_nu: float = 0.4, seed: int = 0
) -> Collapse:
    """Finite-size collapse of r [seeds, K] at 3 sizes or more, K within a quarter of K_c; starts at ``critical``.

    ln(r N^{beta/nu}) is fitted by one polynomial of degree 4 in (K/K_c - 1) N^{1/nu}; intervals by bootstrap. The
    intervals hold for the fit alone: sizes that are small shift all three together, K_c by some 5 % at N <= 800, so
    take K_c from ``power_law`` and read this as a check. Raises InputError for fewer than 3 sizes or too few K.
    """
    K = np.asarray(K, float)
    near = np.abs(K / critical - 1) <= 0.26
    sizes = np.array(sorted(curves))
    if len(sizes) < 3 or len(sizes) * near.sum() < DEGREE + 6:
        raise InputError(f"a collapse needs 3 sizes and more K near {critical:g}; got {len(sizes)} and {near.sum()}")
    samples = [np.asarray(curves[N], float)[:, near] for N in sizes]
    errors = np.array([r.std(axis=0, ddof=1) / np.sqrt(len(r)) / r.mean(axis=0) for r in samples])
    rng = np.random.default_rng(seed)
    start = np.array([1.0, inverse_nu, inverse_nu / 2])

    def fitted(means: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
        simplex = start + np.vstack([np.zeros(3), np.diag([0.03, 0.05, 0.03])])
        arguments = (K[near] / critical, sizes.astype(float), np.log(means), 1 / errors)
        found = minimize(_roughness, start, args=arguments, method="Nelder-Mead", options={"initial_simplex": simplex})
        return found.x, float(found.fun)

    best, left = fitted(np.array([r.mean(axis=0) for r in samples]), start)
    drawn = [
        fitted(np.array([r[rng.integers(len(r), size=len(r))].mean(axis=0) for r in samples]), best)[0]
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    unit = np.array([critical, 1.0, 1.0])
    numbers = [
        Interval(*map(float, row), RESAMPLES) for row in np.stack([best * unit, low * unit, high * unit], axis=1)
    ]
    return Collapse(*numbers, left / (errors.size - DEGREE - 4))


def _roughness(
    parameters: np.ndarray, x: np.ndarray, sizes: np.ndarray, log_r: np.ndarray, weights: np.ndarray
) -> float:
    critical, inverse_nu, beta_over_nu = parameters
    scaled = ((x / critical - 1) * sizes[:, None] ** inverse_nu).reshape(-1)
    raised = (log_r + beta_over_nu * np.log(sizes)[:, None]).reshape(-1) * weights.reshape(-1)
    powers = np.vander(scaled / np.abs(scaled).max(), DEGREE + 1) * weights.reshape(-1, 1)
    q, _ = np.linalg.qr(powers)
    return float(raised @ raised - np.sum((raised @ q) ** 2))
