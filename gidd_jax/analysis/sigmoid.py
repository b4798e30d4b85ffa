"""Sigmoid fits: where a curve rises or falls, and refusing to say so where it does neither."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gidd_jax.errors import InputError

POINTS = 6
ROUNDS = 60
LEAST_RISE = 3.0
MOST_RISE = 2.0
# A rise may sit on noise alone: of curves of independent noise this F lets about one in a hundred pass.
LEAST_F = 6.0


class SigmoidFit(NamedTuple):
    """y = lo + (hi - lo) / (1 + exp(-(t - midpoint) / width)): lo is the left plateau, hi the right one, width > 0.

    Where ``ok`` is False the numbers are NaN.
    """

    lo: float
    hi: float
    midpoint: float
    width: float
    ok: bool


def fit_sigmoid(t: ArrayLike, y: ArrayLike, rising: bool | None = None) -> SigmoidFit:
    """Least-squares sigmoid through y [T] at rising t [T]; rising (hi > lo) and falling curves alike, or as asked.

    Refused (ok False, NaN): a number that is not finite, a rise below 3 of its standard errors or no better than noise,
    a midpoint outside t, plateaus so far beyond the data that the curve shows no bend; a curve that falls where it
    should be ``rising``, or rises where that is False. Raises InputError unless t and y are of one length of 6 or more
    and t rises.

    >>> t = np.arange(20.0)
    >>> fit = analysis.fit_sigmoid(t, 1 / (1 + np.exp(-(t - 8.0))))
    >>> fit.ok, round(fit.midpoint, 3), round(fit.width, 3)
    (True, 8.0, 1.0)
    >>> analysis.fit_sigmoid(t, 0 * t).ok  # flat curves are refused
    False
    """
    t, y = _checked(t, y)
    if y.ndim != 1:
        raise InputError(f"fit_sigmoid takes one curve [T], not {y.shape}")
    lo, hi, midpoint, width = _fit(t, y[None], rising)[0].tolist()
    return SigmoidFit(lo, hi, midpoint, width, bool(np.isfinite(midpoint)))


def bootstrap_midpoint(t: ArrayLike, y: ArrayLike, idx: ArrayLike, rising: bool | None = None) -> np.ndarray:
    """Midpoints [nb] of sigmoids through the median over rows of y [M, T] resampled by idx [nb, M]; NaN: refused.

    >>> t = np.arange(20.0)
    >>> y = 1 / (1 + np.exp(-(t - np.array([[8.0], [8.0], [9.0]]))))
    >>> print(analysis.bootstrap_midpoint(t, y, np.array([[0, 1, 2], [2, 2, 2]])).round(3))
    [8. 9.]
    """
    t, y = _checked(t, y)
    idx = np.asarray(idx)
    if y.ndim != 2 or idx.ndim != 2:
        raise InputError(f"bootstrap_midpoint takes y [M, T] and idx [nb, M], not {y.shape} and {idx.shape}")
    return _fit(t, np.stack([np.median(y[rows], axis=0) for rows in idx]), rising)[:, 2]


def _checked(t: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    t, y = np.asarray(t, float), np.asarray(y, float)
    if t.ndim != 1 or y.shape[-1:] != t.shape or len(t) < POINTS or not np.all(np.diff(t) > 0):
        raise InputError(f"a sigmoid needs {POINTS} points or more at rising t; got t {t.shape} and y {y.shape}")
    return t, y


def _fit(t: np.ndarray, y: np.ndarray, rising: bool | None) -> np.ndarray:
    """Fits each row of y [n, T] -> [n, 4] (lo, hi, midpoint, width), rows of NaN where refused."""
    fits = np.full((len(y), 4), np.nan)
    flat = np.ptp(y, axis=1) <= 1e-9 * np.abs(y).max(axis=1)
    usable = np.isfinite(y).all(axis=1) & ~flat
    if usable.any():
        # In units of the span and of the curve's own range, so that one damping fits all.
        u, floor, height = (t - t[0]) / (t[-1] - t[0]), y[usable].min(axis=1), np.ptp(y[usable], axis=1)
        curves = (y[usable] - floor[:, None]) / height[:, None]
        theta = _refined(u, curves, _start(u, curves))
        lo, hi, midpoint, log_width = theta.T
        found = np.stack([lo, hi, midpoint, np.exp(log_width)], axis=1)
        found[~_believable(u, curves, theta)] = np.nan
        if rising is not None:
            found[(hi > lo) != rising] = np.nan
        found[:, :2] = floor[:, None] + height[:, None] * found[:, :2]
        found[:, 2:] *= t[-1] - t[0]
        found[:, 2] += t[0]
        fits[usable] = found
    return fits


def _start(u: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """The best of a grid of midpoints and widths, the plateaus solved for each."""
    midpoints, widths = np.meshgrid(np.linspace(0, 1, 61), np.geomspace(_narrowest(u), 0.5, 14))
    shapes = _logistic((u[None] - midpoints.reshape(-1, 1)) / widths.reshape(-1, 1))
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    power = (centred**2).sum(axis=1)
    slopes = (curves - curves.mean(axis=1, keepdims=True)) @ centred.T / np.maximum(power, 1e-12)
    best = np.argmax(slopes**2 * power, axis=1)
    slope = slopes[np.arange(len(curves)), best]
    lo = curves.mean(axis=1) - slope * shapes[best].mean(axis=1)
    return np.stack([lo, lo + slope, midpoints.reshape(-1)[best], np.log(widths.reshape(-1)[best])], axis=1)


def _refined(u: np.ndarray, curves: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Levenberg and Marquardt's descent, all curves at once."""
    damping = np.full(len(curves), 1e-3)
    error, jacobian = _error(u, curves, theta)
    for _ in range(ROUNDS):
        normal = np.einsum("nti,ntj->nij", jacobian, jacobian)
        gradient = np.einsum("nti,nt->ni", jacobian, error)
        ridge = damping[:, None, None] * (np.eye(4) + np.einsum("nii->ni", normal)[:, None] * np.eye(4))
        tried = theta - np.linalg.solve(normal + ridge, gradient[..., None])[..., 0]
        tried[:, 3] = np.clip(tried[:, 3], np.log(_narrowest(u)), np.log(2.0))
        new_error, new_jacobian = _error(u, curves, tried)
        better = (new_error**2).sum(axis=1) < (error**2).sum(axis=1)
        theta = np.where(better[:, None], tried, theta)
        error = np.where(better[:, None], new_error, error)
        jacobian = np.where(better[:, None, None], new_jacobian, jacobian)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-12, 1e6)
    return theta


def _error(u: np.ndarray, curves: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals [n, T] and their derivatives by (lo, hi, midpoint, log width) [n, T, 4]."""
    lo, hi, midpoint, log_width = (column[:, None] for column in theta.T)
    scaled = (u - midpoint) * np.exp(-log_width)
    shape = _logistic(scaled)
    bend = (hi - lo) * shape * (1 - shape)
    jacobian = np.stack([1 - shape, shape, -bend * np.exp(-log_width), -bend * scaled], axis=2)
    return lo + (hi - lo) * shape - curves, jacobian


def _believable(u: np.ndarray, curves: np.ndarray, theta: np.ndarray) -> np.ndarray:
    error, jacobian = _error(u, curves, theta)
    left, free = (error**2).sum(axis=1), len(u) - 4
    total = ((curves - curves.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    covariance = np.linalg.pinv(np.einsum("nti,ntj->nij", jacobian, jacobian), rcond=1e-12, hermitian=True)
    rise = np.array([-1.0, 1.0, 0.0, 0.0])
    spread = np.sqrt(left / free * np.maximum(np.einsum("i,nij,j->n", rise, covariance, rise), 0))
    height = np.abs(theta[:, 1] - theta[:, 0])
    inside = (theta[:, 2] >= 0) & (theta[:, 2] <= 1)
    rises = (height >= LEAST_RISE * spread) & (height <= MOST_RISE)
    return inside & rises & (total - left >= LEAST_F * left * 3 / free)


def _narrowest(u: np.ndarray) -> float:
    return float(np.diff(u).min()) / 20


def _logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))
