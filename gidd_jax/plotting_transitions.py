"""Figures of a transition: tables of oscillator sweeps in, matplotlib figures out; theory stands beside every curve."""

import os
import pathlib

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gidd_jax.analysis import (
    Collapse,
    binder_cumulant,
    collapse,
    curve,
    describe,
    found_transition,
    incoherent_r,
    loop_area,
    mean_interval,
    ramp,
    susceptibility,
    systems,
)
from gidd_jax.plotting import DPI, HUES, STYLE

RESAMPLES = 200
LEAST_SEEDS = 3
THEORY = {"color": "black", "ls": (0, (4, 2)), "lw": 1.1, "zorder": 3}
CRITICAL = {"color": "0.45", "ls": ":", "lw": 1.1, "zorder": 1}


@mpl.rc_context(STYLE)
def transition(table: pd.DataFrame, dial: str) -> Figure:
    """r, its Binder cumulant and its susceptibility against the dial: a colour a system, bands over seeds, theory."""
    named = systems(table, dial)
    figure, axes = _canvas(3, "Order against coupling", [_seeds(named, dial), describe(found_transition(table, dial))])
    order, binder, spread = axes
    for hue, (name, (N, rows)) in zip(HUES, named.items(), strict=False):
        K, r = curve(rows, dial, "order_parameter")
        means = [mean_interval(column) for column in r.T]
        _band(order, K, *np.array(means)[:, :3].T, hue, name)
        order.axhline(incoherent_r(N), color=hue, lw=0.8, ls=":", zorder=1)
        moments = [curve(rows, dial, f"order_parameter_{power}")[1] for power in ("squared", "fourth")]
        if len(r) >= LEAST_SEEDS:
            _band(binder, K, *_resampled(binder_cumulant, moments), hue, name)
            _band(spread, K, *_resampled(lambda x, N=N: susceptibility(x, N), [r]), hue, name)
    _theory(order, named, dial)
    order.plot([], [], color="0.5", lw=0.8, ls=":", label="free phases, E[r]")
    order.set(xlabel=_label(dial), ylabel="order parameter r (0 to 1)", ylim=(0, 1))
    binder.set(xlabel=_label(dial), ylabel="Binder cumulant U (dimensionless)")
    for level in (1 / 3, 2 / 3):
        binder.axhline(level, color="0.7", lw=0.8, zorder=1)
    spread.set(xlabel=_label(dial), ylabel="susceptibility N Var r (dimensionless)", yscale="log")
    for ax in (binder, spread):
        if not ax.collections:
            ax.set(xlim=order.get_xlim(), yticks=[])
            ax.text(0.5, 0.5, f"takes {LEAST_SEEDS} seeds", transform=ax.transAxes, ha="center", color="0.35")
    for critical in _criticals(named, dial):
        for ax in axes:
            ax.axvline(critical, **CRITICAL)
    order.plot([], [], **CRITICAL, label="K_c in theory")
    figure.legend(*order.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


@mpl.rc_context(STYLE)
def scaling_collapse(table: pd.DataFrame, dial: str, critical: float) -> Figure:
    """All sizes on one curve: r N^(beta/nu) against (K/K_c - 1) N^(1/nu), as measured and with the fitted numbers."""
    named = systems(table, dial)
    curves = {N: curve(rows, dial, "order_parameter") for N, rows in named.values()}
    K = next(iter(curves.values()))[0]
    fit = collapse(K, {N: r for N, (_, r) in curves.items()}, critical)
    figure, (raw, scaled) = _canvas(2, "Finite-size collapse", [_seeds(named, dial), _numbers(fit)])
    near = np.abs(K / critical - 1) <= 0.26
    for hue, (N, (_, r)) in zip(HUES, curves.items(), strict=False):
        mean, low, high = np.array([mean_interval(column)[:3] for column in r[:, near].T]).T
        grown = N**fit.beta_over_nu.mean
        _band(raw, K[near], mean, low, high, hue, f"N = {N}")
        x = (K[near] / fit.critical.mean - 1) * N**fit.inverse_nu.mean
        _band(scaled, x, grown * mean, grown * low, grown * high, hue, f"N = {N}")
    raw.set(xlabel=_label(dial), ylabel="order parameter r (0 to 1)", yscale="log")
    scaled.set(xlabel="(K/K_c − 1) N^(1/ν) (dimensionless)", ylabel="r N^(β/ν) (dimensionless)", yscale="log")
    figure.legend(*raw.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


@mpl.rc_context(STYLE)
def hysteresis(table: pd.DataFrame, dial: str) -> Figure:
    """r while the coupling is ramped up and then down: a panel a system, the loop's area in its title."""
    named = systems(table, dial)
    caption = [
        "the state is carried from level to level; bands: 95 % t interval over seeds",
        "a loop that shrinks as the ramp slows is lag, not hysteresis",
    ]
    figure, axes = _canvas(len(named), "Ramped up and down", caption)
    for ax, (name, (_, rows)) in zip(axes, named.items(), strict=True):
        K, *ways = ramp(rows)
        for r, way, hue in zip(ways, ("up", "down"), HUES, strict=False):
            _band(ax, K, *np.array([mean_interval(column)[:3] for column in r.T]).T, hue, f"on the way {way}")
        area = loop_area(K, *ways)
        title = f"{name}, {len(ways[0])} seeds\narea {area.mean:.3f} [{area.low:.3f}, {area.high:.3f}] 1/time"
        ax.set_title(title, loc="left", size=8.5)
        ax.set(xlabel="coupling K (1/time)", ylabel="order parameter r (0 to 1)", ylim=(0, 1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def save_all(table: pd.DataFrame, dial: str, directory: str | pathlib.Path) -> list[pathlib.Path]:
    """Writes the figures the table has the rows for: a hysteresis loop, or r, U and N Var r, and their collapse."""
    directory = pathlib.Path(directory)
    if "order_parameter/up" in set(table["metric"]):
        return [save(hysteresis(table, dial), directory / "hysteresis.png")]
    paths = [save(transition(table, dial), directory / "transition.png")]
    found = found_transition(table, dial)
    if found is not None and found.order == "continuous":
        K = np.sort(table[dial].unique())
        if np.sum(np.abs(K / found.law.critical.mean - 1) <= 0.26) > 3:
            figure = scaling_collapse(table, dial, found.law.critical.mean)
            paths.append(save(figure, directory / "collapse.png"))
    return paths


def save(figure: Figure, path: pathlib.Path) -> pathlib.Path:
    """One PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.png")
    figure.savefig(unfinished, dpi=DPI)
    os.replace(unfinished, path)
    return path


def _canvas(panels: int, title: str, caption: list[str]) -> tuple[Figure, list[Axes]]:
    """Axes in a row below a title and a caption."""
    lines = "\n".join(caption)
    width, header = max(3.1 * panels, 6.5), 0.45 + 0.16 * (lines.count("\n") + 1)
    height = 2.7 + header + 0.5
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, rect=(0, 0, 1, 1 - header / height))
    figure.text(0.1 / width, 1 - 0.1 / height, title, size=11, weight="bold", va="top")
    figure.text(0.1 / width, 1 - 0.34 / height, lines, color="0.35", va="top", gid="caption")
    return figure, list(figure.subplots(1, panels, squeeze=False).flat)


def _band(ax: Axes, x: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray, hue: str, name: str) -> None:
    ax.plot(x, mean, color=hue, marker="o", ms=3, label=name, gid="mean")
    ax.fill_between(x, low, high, color=hue, alpha=0.2, lw=0)


def _resampled(statistic, samples: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The statistic of the samples [seeds, K] and its 95 % percentile band over seeds."""
    rng, n = np.random.default_rng(0), len(samples[0])
    drawn = [statistic(*(s[rows] for s in samples)) for rows in rng.integers(n, size=(RESAMPLES, n))]
    return statistic(*samples), *np.quantile(drawn, [0.025, 0.975], axis=0)


def _theory(ax: Axes, named: dict, dial: str) -> None:
    """The line for infinitely many oscillators, once for each distinct one."""
    drawn = set()
    for _, rows in named.values():
        K, theory = curve(rows, dial, "order_parameter_theory")
        line = (tuple(K), tuple(theory[0]))
        if line not in drawn:
            ax.plot(K, theory[0], **THEORY, label=None if drawn else "theory, N → ∞")
            drawn.add(line)


def _criticals(named: dict, dial: str) -> list[float]:
    K = {float(curve(rows, dial, "critical_coupling")[1].flat[0]) for _, rows in named.values()}
    lowest, highest = (f(rows[dial].to_numpy()) for f in (np.min, np.max) for _, rows in list(named.values())[:1])
    return sorted(k for k in K if lowest <= k <= highest)


def _seeds(named: dict, dial: str) -> str:
    counts = sorted({len(curve(rows, dial, "order_parameter")[1]) for _, rows in named.values()})
    interval = "95 % over seeds (r: t interval, else bootstrap)" if counts[-1] > 1 else "none, one seed"
    return f"{' or '.join(map(str, counts))} seeds a system; lines: mean, bands: {interval}"


def _numbers(fit: Collapse) -> str:
    parts = [f"K_c {fit.critical.mean:.3g}", f"1/ν {fit.inverse_nu.mean:.2g}", f"β/ν {fit.beta_over_nu.mean:.2g}"]
    ranges = [f"[{x.low:.3g}, {x.high:.3g}]" for x in (fit.critical, fit.inverse_nu, fit.beta_over_nu)]
    told = ", ".join(f"{part} {span}" for part, span in zip(parts, ranges, strict=True))
    return f"{told} (fit alone), χ²/dof {fit.chi2:.2g}"


def _label(dial: str) -> str:
    return "coupling K (1/time)" if dial == "coupling" else f"{dial.replace('_', ' ')} (1/time)"
