"""Kuramoto oscillators with mean-field coupling: dynamics in O(N), natural frequencies, and what theory says of them.

    theta_i' = omega_i + (K/N) sum_j sin(theta_j - theta_i) = omega_i + K r sin(psi - theta_i),
    r e^{i psi} = mean_j e^{i theta_j}.

(Kuramoto 1975; Acebron et al., Rev. Mod. Phys. 77, 137, 2005.) Above K_c = 2 / (pi g(0)) the phases gather. Where the
density g of the frequencies is smooth with a single peak, r grows from 0 like sqrt(K - K_c): a continuous transition.
Only a flat peak, as of the uniform density, makes r jump. Angles are radians, times are in units of 1 / frequency.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real
from scipy import special

from gidd_jax.errors import InputError
from gidd_jax.types import PRNGKey

DISTRIBUTIONS = ("lorentzian", "gaussian", "uniform", "student_t")
METHODS = ("rk4", "euler", "split")
TURN = 2 * math.pi
NODES = 256


class Order(NamedTuple):
    """The order parameter r e^{i psi}: how far the phases agree, and on what."""

    r: Float[Array, "..."]
    psi: Float[Array, "..."]


def order_parameter(theta: Real[ArrayLike, "*batch N"]) -> Order:
    """r e^{i psi} = mean_j e^{i theta_j}, [..., N] -> r [...] in [0, 1] and psi [...] in (-pi, pi].

    Where the mean is exactly 0 both gradients are 0 instead of NaN, and psi = 0.

    >>> r, psi = kuramoto.order_parameter(jnp.array([0.3, 0.3, 0.3]))
    >>> round(float(r), 6), round(float(psi), 6)
    (1.0, 0.3)
    """
    theta = jnp.asarray(theta)
    c, s = _mean_field(theta.astype(jnp.result_type(float, theta)))
    nowhere = (c == 0) & (s == 0)
    return Order(_length(c, s), jnp.arctan2(s, jnp.where(nowhere, 1.0, c)))


def velocity(
    theta: Real[ArrayLike, "..."], omega: Real[ArrayLike, "..."], K: Real[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """theta' = omega + K r sin(psi - theta), radians per time."""
    theta, omega, K = _aligned(theta, omega, K)
    return omega + K[..., None] * _pull(theta)


def step(theta: Array, omega: Array, K: Array, dt: ArrayLike, method: str = "rk4") -> Array:
    """Phases [..., N] one time step of length dt later; omega [..., N], K [...] (or broadcasting to these).

    "euler": one slope, needs dt K well below 1. "rk4": the classical fourth order, needs dt |omega| well below 1.
    "split": half a free rotation, the coupling alone by the midpoint rule, half a free rotation (Strang 1968): second
    order, exact at K = 0 and safe for the frequencies of any size that a Lorentzian draws. Others raise InputError.
    """
    theta, omega, K = _aligned(theta, omega, K)
    dt = jnp.asarray(dt, theta.dtype)
    _known(method, METHODS, "method")

    def slope(theta: Array) -> Array:
        return omega + K[..., None] * _pull(theta)

    if method == "euler":
        return theta + dt * slope(theta)
    if method == "split":
        theta = theta + dt / 2 * omega
        middle = theta + dt / 2 * K[..., None] * _pull(theta)
        return theta + dt * K[..., None] * _pull(middle) + dt / 2 * omega
    first = slope(theta)
    second = slope(theta + dt / 2 * first)
    third = slope(theta + dt / 2 * second)
    fourth = slope(theta + dt * third)
    return theta + dt / 6 * (first + 2 * second + 2 * third + fourth)


def wrapped(theta: Array) -> tuple[Array, Array]:
    """Phases in [-pi, pi] and the whole turns (a float) that were taken out of them."""
    turns = jnp.round(theta / TURN)
    return theta - TURN * turns, turns


def simulate(
    theta0: Real[ArrayLike, "..."],
    omega: Real[ArrayLike, "..."],
    K: Real[ArrayLike, "..."],
    dt: Real[ArrayLike, ""],
    steps: int,
    method: str = "rk4",
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Phases after ``steps`` steps of length dt, unwrapped [..., N], and r before each step and after the last
    [steps + 1, ...].

    Turns are counted apart from the phases, so a long run loses no digits. Raises InputError for an unknown method.

    >>> theta, r = kuramoto.simulate(jnp.array([0.0, 1.0]), jnp.zeros(2), K=1.0, dt=0.1, steps=100)
    >>> r.shape, round(float(r[-1]), 3)  # two equal oscillators meet
    ((101,), 1.0)
    """
    theta0, omega, K = _aligned(theta0, omega, K)

    def one(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        theta, turns = carry
        after, more = wrapped(step(theta, omega, K, dt, method))
        return (after, turns + more), order_parameter(theta).r

    (theta, turns), r = jax.lax.scan(one, wrapped(theta0), length=steps)
    last = order_parameter(theta).r
    return theta + TURN * turns, jnp.concatenate([r, last[None]])


def random_frequencies(
    key: PRNGKey, distribution: str, scale: Real[ArrayLike, ""], oscillators: int, df: float | int = 3
) -> Float[Array, "N"]:
    """Independent natural frequencies [N], centred at 0; consumes ``key``.

    ``scale`` is the half width at half maximum (lorentzian), the standard deviation (gaussian), the half range
    (uniform) or the factor of a Student t with ``df`` degrees of freedom. Finite-size exponent nu = 5/2.
    """
    _known(distribution, DISTRIBUTIONS, "distribution")
    draws = {
        "lorentzian": lambda: jax.random.cauchy(key, (oscillators,)),
        "gaussian": lambda: jax.random.normal(key, (oscillators,)),
        "uniform": lambda: jax.random.uniform(key, (oscillators,), minval=-1.0, maxval=1.0),
        "student_t": lambda: jax.random.t(key, df, (oscillators,)),
    }
    return scale * draws[distribution]()


def quantile_frequencies(
    distribution: str, scale: Real[ArrayLike, ""], oscillators: int, df: float | int = 3
) -> Float[Array, "N"]:
    """The quantiles (i - 1/2) / N, i = 1..N, of the same distributions [N]: no disorder, nu = 5/4."""
    _known(distribution, DISTRIBUTIONS, "distribution")
    p = (np.arange(oscillators) + 0.5) / oscillators
    unit = {
        "lorentzian": lambda: np.tan(np.pi * (p - 0.5)),
        "gaussian": lambda: special.ndtri(p),
        "uniform": lambda: 2 * p - 1,
        "student_t": lambda: special.stdtrit(df, p),
    }[distribution]()
    return scale * jnp.asarray(unit, jnp.result_type(float))


def critical_coupling(
    distribution: str, scale: Real[ArrayLike, "*shape"] = 1.0, df: float | int = 3
) -> Float[Array, "*shape"]:
    """K_c = 2 / (pi g(0)), over scale: 2 (lorentzian), sqrt(8/pi) (gaussian), 4/pi (uniform), sqrt(3) (t, df 3).

    >>> float(kuramoto.critical_coupling("lorentzian", 0.5))
    1.0
    """
    return jnp.asarray(scale, jnp.result_type(float, scale)) * _unit_critical(distribution, df)


def stationary_r(
    K: Real[ArrayLike, "*#shape"], distribution: str, scale: Real[ArrayLike, "*#shape"] = 1.0, df: float | int = 3
) -> Float[Array, "*shape"]:
    """The stationary order parameter of infinitely many oscillators, 0 up to K_c: the root r of

        1 = K int_{-pi/2}^{pi/2} cos^2(x) g(K r sin x) dx

    (Kuramoto 1975), in closed form for the lorentzian, sqrt(1 - K_c/K), else by bisection to the last digit.
    The uniform density jumps to pi/4 at K_c (Pazo 2005); there the upper branch is returned. Differentiable in K and
    scale by the implicit function, with derivative 0 at K_c itself, where it does not exist. ``scale`` > 0; error below
    1e-6 for K up to 1000 K_c. Raises InputError for an unknown distribution.

    >>> round(float(kuramoto.stationary_r(4.0, "lorentzian")), 4)  # sqrt(1 - 2/4)
    0.7071
    """
    unit = _unit_critical(distribution, df)
    K, scale = jnp.broadcast_arrays(*(jnp.asarray(x, jnp.result_type(float, K, scale)) for x in (K, scale)))
    k = K / scale
    rounded = np.asarray(unit, k.dtype)
    above = k > rounded
    # K_c itself is rounded: the digits it lost decide the first digits of a small r.
    excess = jnp.where(above, ((k - rounded) - (unit - float(rounded))) / unit, 1.0)
    if distribution == "lorentzian":
        r = jnp.sqrt(excess / (1 + excess))
    elif distribution == "uniform":
        r = _uniform_r(excess)
    else:
        k = jnp.where(above, k, 2 * unit)
        r = _smooth_field(excess, k, distribution, df) / k
    at_rest = jnp.where(k == rounded, math.pi / 4, 0.0) if distribution == "uniform" else jnp.zeros_like(r)
    return jnp.where(above, r, at_rest)


def ott_antonsen(
    t: Real[ArrayLike, "*#shape"],
    r0: Real[ArrayLike, "*#shape"],
    K: Real[ArrayLike, "*#shape"],
    scale: Real[ArrayLike, "*#shape"] = 1.0,
) -> Float[Array, "*shape"]:
    """r(t) of infinitely many oscillators with lorentzian frequencies, from r0 at t = 0 (Ott and Antonsen 2008).

    r^2 = a r0^2 e^{2at} / (a + b r0^2 (e^{2at} - 1)) with a = K/2 - scale and b = K/2; at a = 0, 1/r^2 = 1/r0^2 + 2bt.
    """
    dtype = jnp.result_type(float, t, r0, K, scale)
    t, r0, K, scale = jnp.broadcast_arrays(*(jnp.asarray(x, dtype) for x in (t, r0, K, scale)))
    a, b = K / 2 - scale, K / 2
    rate = jnp.where(a == 0, 1.0, jnp.abs(a))
    # Written with decaying exponentials only, so that nothing overflows on either side of K_c.
    decay = jnp.where(a == 0, 1.0, jnp.exp(-2 * rate * t))
    grown = jnp.where(a == 0, 2 * t, -jnp.expm1(-2 * rate * t) / rate)
    shrunk = jnp.where(a < 0, jnp.exp(-rate * t), 1.0)
    return r0 * shrunk / jnp.sqrt(jnp.where(a < 0, 1.0, decay) + b * r0**2 * grown)


def _mean_field(theta: Array) -> tuple[Array, Array]:
    sin, cos = _means(_waves(theta))
    return cos, sin


def _pull(theta: Array) -> Array:
    """r sin(psi - theta): one sine and one cosine an oscillator, and neither root nor angle."""
    waves = _waves(theta)
    sin, cos = _means(waves)
    return sin[..., None] * waves[..., 1, :] - cos[..., None] * waves[..., 0, :]


def _means(waves: Float[Array, "*batch 2 N"]) -> tuple[Array, Array]:
    means = waves.mean(axis=-1)
    return means[..., 0], means[..., 1]


def _waves(theta: Float[Array, "*batch N"]) -> Float[Array, "*batch 2 N"]:
    """sin theta and cos theta as one array that exists: left to itself XLA computes both anew for each use."""
    one = _sine if theta.dtype == jnp.float32 else lambda x, shift: (jnp.cos if shift else jnp.sin)(x)
    return jax.lax.optimization_barrier(jnp.stack([one(theta, 0.0), one(theta, 0.5)], axis=-2))


def _sine(x: Float[Array, "*n"], shift: float) -> Float[Array, "*n"]:
    """sin(x + shift pi), shift 0 or 1/2, in float32 to 1.3e-7: several times faster than XLA's own on a CPU.

    x is brought to [-pi/2, pi/2] by halves of a turn, then a polynomial of degree 9, the least squares fit of
    (sin y)/y - 1 at Chebyshev's nodes, 7e-9 off.
    """
    half_turns = jnp.round(x * (1 / math.pi) - shift) + shift
    # pi in three parts of few bits, so that the products are exact; beyond 1e7 radians no digit of x is left.
    y = ((x - half_turns * 3.140625) - half_turns * 9.67502593994140625e-4) - half_turns * 1.509957990978376e-7
    y = jnp.clip(y, -1.6, 1.6)
    y2 = y * y
    sin = y + y * y2 * (-1.66666603e-1 + y2 * (8.33308439e-3 + y2 * (-1.98108716e-4 + y2 * 2.60845407e-6)))
    odd = ((half_turns + shift).astype(jnp.int32) & 1) == 1
    return jnp.where(odd, -sin, sin)


def _length(x: Array, y: Array) -> Array:
    squared = x**2 + y**2
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)


def _aligned(theta: ArrayLike, omega: ArrayLike, K: ArrayLike) -> tuple[Array, Array, Array]:
    """Phases and frequencies [..., N] and couplings [...], of one shape and one dtype."""
    dtype = jnp.result_type(float, theta, omega, K)
    shape = np.broadcast_shapes(jnp.shape(theta), jnp.shape(omega), (*jnp.shape(K), 1))
    theta, omega = (jnp.broadcast_to(jnp.asarray(x, dtype), shape) for x in (theta, omega))
    return theta, omega, jnp.broadcast_to(jnp.asarray(K, dtype), shape[:-1])


def _known(name: str, names: tuple[str, ...], what: str) -> None:
    if name not in names:
        raise InputError(f"no {what} {name!r}; there are {', '.join(names)}")


def _unit_critical(distribution: str, df: float | int) -> float:
    """K_c at scale 1."""
    _known(distribution, DISTRIBUTIONS, "distribution")
    peak = {
        "lorentzian": 1 / math.pi,
        "gaussian": 1 / math.sqrt(2 * math.pi),
        "uniform": 0.5,
        "student_t": math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi),
    }[distribution]
    return 2 / (math.pi * peak)


def _smooth_field(excess: Array, k: Array, distribution: str, df: float | int) -> Array:
    """The root y = k r in [0, k] of  excess G(y) = H(y),  G = (2/pi) int cos^2 x g(y sin x)/g(0) dx and H = 1 - G.

    H is summed from the deficit 1 - g/g(0), not subtracted, so that small r keep their digits. The sum over x, after
    tan x = b tan(theta), is the trapezoidal rule of a smooth periodic function: its error falls exponentially.
    """
    theta = (jnp.arange(NODES, dtype=k.dtype) + 0.5) * (math.pi / 2 / NODES)
    sin2, cos2 = jnp.sin(theta) ** 2, jnp.cos(theta) ** 2

    def imbalance(y: Array) -> Array:
        b = jax.lax.stop_gradient(1 / jnp.sqrt(1 + y))[..., None]
        width = _spread(cos2, b) + b**2 * _spread(sin2, b)
        weight = b * _spread(cos2, b) / width**2 * (2 / NODES)
        u2 = (y[..., None] * b) ** 2 * _spread(sin2, b) / width
        log = -u2 / 2 if distribution == "gaussian" else -(df + 1) / 2 * jnp.log1p(u2 / df)
        gathered = (weight * jnp.exp(log)).sum(axis=-1)
        missing = -(weight * jnp.expm1(log)).sum(axis=-1)
        return missing - excess * gathered

    return _root(imbalance, jnp.zeros_like(k), k)


def _uniform_r(excess: Array) -> Array:
    """The locked branch r = (cos p + p / sin p) / 2, sin p = 1/(k r):  e - sin e = pi (1 - K_c/K) with e = pi - 2p."""
    mean = math.pi * excess / (1 + excess)
    e = _root(lambda e: e - jnp.sin(e) - mean, jnp.zeros_like(mean), jnp.full_like(mean, math.pi))
    p = (math.pi - e) / 2
    return (jnp.cos(p) + 1 / jnp.sinc(p / math.pi)) / 2


def _root(function: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """The root of an increasing elementwise function between low and high; derivatives by the implicit function."""

    def bisect(function: Callable[[Array], Array], first: Array) -> Array:
        def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            below, above = bounds
            middle = (below + above) / 2
            left = function(middle) < 0
            return jnp.where(left, middle, below), jnp.where(left, above, middle)

        halvings = jnp.finfo(first.dtype).nmant + 8
        below, above = jax.lax.fori_loop(0, halvings, halve, (first, jax.lax.stop_gradient(high)))
        return (below + above) / 2

    return jax.lax.custom_root(function, low, bisect, lambda slope, y: y / slope(jnp.ones_like(y)))


def _spread(nodes: Array, like: Array) -> Array:
    return jnp.broadcast_to(nodes, (*like.shape[:-1], nodes.shape[0]))
