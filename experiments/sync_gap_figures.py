"""The figure of the synchronisation gap, of one depth and class and one or several seeds: every curve with its band."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.sync_gap_verdicts import (
    CONTROL,
    FIRST,
    LAST,
    NATURAL,
    STRONG,
    Measured,
    jackknife_error,
    resamples,
)
from gidd_jax import analysis


class Band(NamedTuple):
    """A curve and where 95 % of its estimates would lie."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def drawn(found: list[Measured]) -> Figure:
    """Behaviour, energies by layer and step and by the layers coupled, and the theory where it was measured."""
    n, pairs, sets = len(found), len(found[0].curves["coarse"][CONTROL]), len(found[0].left_out[NATURAL])
    seeds = f"{n} seed{'s' * (n > 1)}"
    over_pairs = f"95 %: bootstrap over {seeds} x {pairs} pairs"
    over_sets = f"95 %: jackknife over {sets} sets of {pairs} pairs" if n == 1 else f"95 %: Student over {seeds}"
    over_modes = f"95 %: bootstrap over {seeds} x modes x steps"
    panels = [
        (lambda ax: behaviour(ax, found, "coarse"), over_pairs),
        (lambda ax: behaviour(ax, found, "fine"), over_pairs),
        (lambda ax: cosine(ax, found), f"{over_pairs}; thin: sigmoid of the mean"),
        (lambda ax: by_layer(ax, found), over_sets),
        (lambda ax: by_step(ax, found), over_sets),
        (lambda ax: kept_apart(ax, found), over_sets),
        (lambda ax: causes(ax, found), over_sets),
    ]
    if found[0].theory:
        panels += [(lambda ax: closure(ax, found), over_modes), (lambda ax: gains(ax, found), over_modes)]
        panels += [(lambda ax: speciation(ax, found), f"{seeds} x blocks x modes, {NATURAL}")]
    columns = -(-len(panels) // 2)
    figure = Figure(figsize=(3.8 * columns, 7), layout="constrained")
    axes = figure.subplots(2, columns)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (draw, title) in zip(axes.flat, panels, strict=False):
        draw(ax)
        ax.set_title(title, fontsize=7)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=6)
    return figure


def behaviour(ax: Axes, found: list[Measured], scale: str) -> None:
    """Commitment by the step of parting; the control over the others, as some curves are the same to the last digit."""
    for arm in found[0].arms:
        control = arm == CONTROL
        band = committed(found, scale, arm)
        line = plotted(ax, found[0].until, band, label=arm, zorder=2 + control)
        line.set(linestyle=":" if control else "-", color="black" if control else line.get_color())
    ax.set(xlabel="steps before they part", ylabel=f"commitment, {scale}")


def cosine(ax: Axes, found: list[Measured]) -> None:
    """Cosine of features by the step of parting, and its sigmoid where it has one (the paper's figures 2 to 5)."""
    t = np.linspace(*found[0].until[[0, -1]], 200)
    for arm in found[0].arms:
        band = committed(found, "feature_cosine", arm, lambda d, _: d)
        line = plotted(ax, found[0].until, band, label=arm)
        fit = analysis.fit_sigmoid(found[0].until, band.value, rising=True)
        if fit.ok:
            rise = (fit.hi - fit.lo) / (1 + np.exp(-(t - fit.midpoint) / fit.width))
            ax.plot(t, fit.lo + rise, lw=0.6, color=line.get_color())
    apart = np.mean([np.median(each.curves["feature_cosine"]["strangers"]) for each in found])
    ax.axhline(apart, color="black", lw=0.8, ls="--", label="strangers")
    ax.set(xlabel="steps before they part", ylabel="cosine of features (-1 to 1)")


def committed(found: list[Measured], scale: str, arm: str, of: Any = analysis.commitment) -> Band:
    """1 - median d / median d of strangers, a mean over seeds; pairs resampled in each, and seeds where several."""
    rng = np.random.default_rng(1)
    of_seeds = []
    for each in found:
        d, apart = each.curves[scale][arm], each.curves[scale]["strangers"]
        idx = np.concatenate([np.arange(len(d))[None], resamples(len(d))])
        of_seeds.append(of(np.median(d[idx], 1), np.median(apart[idx], 1)[:, None]))
    values = np.stack(of_seeds)  # [seeds, 1 + resamples, T]
    chosen = rng.integers(len(found), size=(values.shape[1] - 1, len(found)))
    spread = values[chosen, np.arange(1, values.shape[1])[:, None]].mean(1)
    return Band(values[:, 0].mean(0), *np.quantile(spread, [0.025, 0.975], axis=0))


def by_layer(ax: Axes, found: list[Measured]) -> None:
    """Energy kept at the last step and g = 0, by every estimator."""
    for name in ("in_sample", "held_out", "forgotten", "cosine"):
        band = over(found, NATURAL, lambda ratios, name=name: getattr(ratios, name)[:, -1])
        plotted(ax, 1 + np.arange(len(band.value)), band, label=name.replace("_", " "))
    ax.axhline(1, color="black", lw=0.8)
    ax.set(xlabel="layer", ylabel=f"energy kept, trailing / leading, {NATURAL}", yscale="log", ylim=(0.4, None))


def by_step(ax: Axes, found: list[Measured]) -> None:
    """Energy kept held out, in the last and the first layer, without and with coupling."""
    for coupling in (NATURAL, STRONG):
        for place, layer in (("last", -1), ("first", 0)):
            band = over(found, coupling, lambda ratios, layer=layer: ratios.held_out[layer])
            plotted(ax, np.arange(len(band.value)), band, label=f"{place} layer, {coupling}", marker="")
    ax.axhline(1, color="black", lw=0.8)
    ax.set(xlabel="step", ylabel="energy kept, held out")


def kept_apart(ax: Axes, found: list[Measured]) -> None:
    """Energy that leading and trailing modes keep, held out, in the last layer (the paper's figures 1, 9 and 10)."""
    for coupling in (NATURAL, STRONG):
        for name in ("leading", "trailing"):
            band = over(found, coupling, lambda ratios, name=name: getattr(ratios, name)[-1])
            plotted(ax, np.arange(len(band.value)), band, label=f"{name} modes, {coupling}", marker="")
    ax.set(xlabel="step", ylabel="energy kept, last layer, over that at step 0", yscale="log")


def causes(ax: Axes, found: list[Measured]) -> None:
    """Energy kept held out by layer, by the layers that are coupled."""
    for coupling in (NATURAL, STRONG, FIRST, LAST):
        band = over(found, coupling, lambda ratios: ratios.held_out[:, -1])
        plotted(ax, 1 + np.arange(len(band.value)), band, label=str(coupling))
    ax.axhline(1, color="black", lw=0.8)
    ax.set(xlabel="layer", ylabel="energy kept, held out, last step")


def closure(ax: Axes, found: list[Measured]) -> None:
    """log2 of a mode's measured spread over the product of eta since the step's first block."""
    for coupling in found[0].theory:
        for place, half in (("leading", 0), ("trailing", 1)):
            off = [np.split(each.theory[coupling].closure, 2, axis=2)[half] for each in found]  # [T, L, K / 2]
            values = np.concatenate([np.moveaxis(x, 1, 2).reshape(-1, x.shape[1]) for x in off])
            plotted(ax, 1 + np.arange(values.shape[1]), resampled(values), label=f"{place} modes, {coupling}")
    ax.axhline(0, color="black", lw=0.8)
    ax.set(xlabel="block", ylabel="log2 measured / product of eta (56)")


def gains(ax: Axes, found: list[Measured]) -> None:
    """Average of what a block makes of a mode along itself, and of gamma over the spread it acts on, by step."""
    for coupling in found[0].theory:
        of = [each.theory[coupling] for each in found]
        eta = np.concatenate([np.moveaxis(np.asarray(x.eta), 0, -1).reshape(-1, len(x.steps)) for x in of])
        plotted(ax, of[0].steps, resampled(eta - 1), label=f"eta - 1, {coupling}")
        score = np.concatenate([relative(x).T for x in of])
        plotted(ax, of[0].steps, resampled(score), label=f"gamma / c, {coupling}")
    ax.axhline(0, color="black", lw=0.8)
    ax.set(xlabel="step", ylabel="a block's gain along a mode")


def relative(of: Any) -> np.ndarray:
    """gamma over the mean of c over modes, [T, L]: what the score's linear part takes off a mode."""
    return np.asarray(of.local.gain.gamma) / np.asarray(of.local.branching.c).mean(-1)


def speciation(ax: Axes, found: list[Measured]) -> None:
    """Steps at which modes should part and are seen to, at g = 0; none stands left of the axis."""
    never = -0.1 * found[0].until[-1]
    for place, half, marker in (("leading", 0, "o"), ("trailing", 1, "s")):
        both = [[np.split(x, 2, axis=1)[half].ravel() for x in (o.predicted, o.observed)] for o in _natural(found)]
        x, y = (np.nan_to_num(np.concatenate(part), nan=never) for part in zip(*both, strict=True))
        ax.plot(x, y, marker, ms=4, alpha=0.5, label=f"{place} modes ({len(x)})")
    ax.axline((0, 0), slope=1, color="black", lw=0.8)
    ticks = [never, *np.linspace(0, found[0].until[-1], 6)]
    labels = ["none", *(f"{tick:.0f}" for tick in ticks[1:])]
    ax.set_xticks(ticks, labels)
    ax.set_yticks(ticks, labels)
    ax.set(xlabel="step a mode should part (51)", ylabel="step it is seen to part")


def _natural(found: list[Measured]) -> list[Any]:
    return [each.theory[NATURAL] for each in found]


def over(found: list[Measured], coupling: Any, pick: Any) -> Band:
    """Of one model 1.96 jackknife errors over sets; of several Student's interval over seeds."""
    values = np.stack([pick(each.ratios[coupling]) for each in found])
    if len(found) == 1:
        half = 1.96 * jackknife_error(np.stack([pick(each) for each in found[0].left_out[coupling]]))
        return Band(values[0], values[0] - half, values[0] + half)
    told = [analysis.mean_interval(column) for column in values.T]
    return Band(*(np.array([getattr(each, name) for each in told]) for name in ("mean", "low", "high")))


def resampled(values: np.ndarray) -> Band:
    """Mean over rows [n, X] and the bootstrap of that mean."""
    idx = np.random.default_rng(2).integers(len(values), size=(200, len(values)))
    return Band(values.mean(0), *np.quantile(values[idx].mean(1), [0.025, 0.975], axis=0))


def plotted(ax: Axes, x: np.ndarray, band: Band, marker: str = "o", **told: Any) -> Any:
    """The curve over its band -> the line."""
    (line,) = ax.plot(x, band.value, marker=marker, ms=3, lw=1, **told)
    ax.fill_between(x, band.low, band.high, color=line.get_color(), alpha=0.15, lw=0)
    return line
