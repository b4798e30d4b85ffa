"""Tables and figures of the synchronisation gap."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.sync_gap_verdicts import CONTROL, RESAMPLES, Measured, named, verdicts
from gidd_jax import analysis


def tell(kind: int | None, found: Measured, steps: int) -> str:
    """Everything of one class, for people."""
    lines = [f"== {named(kind)}", f"{'prediction':62}{'value [95 %]':>24}  verdict"]
    for each in verdicts(found):
        shown = f"{each.value:.2f} [{each.low:.2f}, {each.high:.2f}]"
        lines.append(f"{each.statement:62}{shown:>24}  {each.word}")
    idx = np.random.default_rng(0).integers(len(found.coarse[CONTROL]), size=(RESAMPLES, len(found.coarse[CONTROL])))
    lines.append(f"midpoints in steps of {steps}, [95 %], share of resamples refused")
    scales = {"features": found.cosine, "coarse": found.coarse, "fine": found.fine}
    for arm, (scale, curves) in itertools.product(found.arms, scales.items()):
        at = analysis.midpoint(found.until, curves[arm], idx)
        y, strange = np.median(curves[arm], 0), np.median(curves["strangers"])
        if scale == "features":
            ends = f"cosine {y[0]:.2f} -> {y[-1]:.2f}, strangers {strange:.2f}"
        else:
            ends = f"commitment {1 - y[0] / strange:.2f} -> {1 - y[-1] / strange:.2f}"
        shown = f"{at.step:.1f} [{at.low:.1f}, {at.high:.1f}]"
        lines.append(f"  {arm:34}{scale:9}{shown:>20} {at.refused:.2f}   {ends}")
    inflated = analysis.expected_inflation(len(idx[0]), found.dimension)
    lines.append("energy kept at the last step, trailing over leading modes, by layer")
    lines.append(f"  D_eff {found.dimension:.0f}: forgetting alone can bring the in-sample ratio up to {inflated:.1f}")
    for g, gaps in found.gaps.items():
        for name, gap in (*gaps._asdict().items(), ("cosine modes, fine / coarse", found.bands[g])):
            lines.append(f"  g = {g:g} {name.replace('_', ' '):30}" + "".join(f"{x:8.2f}" for x in gap[:, -1]))
    if found.terms:
        lines.append("linear theory at half the path, by block from the second, leading | trailing modes")
    for g, terms in found.terms.items():
        for name in ("chi", "pi", "feed", "cross"):
            lead, trail = (part.mean(1) for part in np.split(getattr(terms, name), 2, axis=1))
            cells = "".join(f"  {a:6.3f}|{b:6.3f}" for a, b in zip(lead, trail, strict=True))
            lines.append(f"  g = {g:g} {name:6}{cells}")
        lines.append(f"  g = {g:g} paths against the exact derivative: error {terms.error.max():.1e}")
    return "\n".join(lines)


def table(found: dict[int | None, Measured]) -> pd.DataFrame:
    """Medians by step of parting, and energy ratios by layer and step."""
    rows = []
    for kind, each in found.items():
        for scale, curves in (("coarse", each.coarse), ("fine", each.fine), ("feature_cosine", each.cosine)):
            for arm in each.arms:
                medians = np.median(curves[arm], 0)
                rows += [(named(kind), arm, scale, -1, s, y) for s, y in zip(each.until, medians, strict=True)]
            rows.append((named(kind), "strangers", scale, -1, 0, np.median(curves["strangers"])))
        for g, gaps in each.gaps.items():
            for name, gap in (*gaps._asdict().items(), ("cosine", each.bands[g])):
                rows += [
                    (named(kind), f"g = {g:g}", name, layer + 1, s, gap[layer, s]) for layer, s in np.ndindex(gap.shape)
                ]
    return pd.DataFrame(rows, columns=["kind", "arm", "measure", "layer", "step", "value"])


def drawn(found: Measured) -> Figure:
    """Commitment, coarse and fine, by arm; energy ratios by layer at g = 0, by estimator; held out by g and step."""
    figure = Figure(figsize=(13, 3.3), layout="constrained")
    coarse, fine, layers, steps = figure.subplots(1, 4)
    for ax, (scale, curves) in zip((coarse, fine), (("coarse", found.coarse), ("fine", found.fine)), strict=True):
        for arm in found.arms:
            y = analysis.commitment(np.median(curves[arm], 0), np.median(curves["strangers"]))
            control = arm == CONTROL  # Over the others: some curves are the same to the last digit.
            ax.plot(
                found.until, y, "k:" if control else "o-", ms=3, lw=2 if control else 1, zorder=2 + control, label=arm
            )
        ax.set(xlabel="steps before they part", ylabel=f"commitment, {scale}")
    coarse.legend(frameon=False, fontsize=7)
    apart = next(iter(found.gaps))
    gaps = found.gaps[apart]
    at = np.arange(1, len(gaps.held_out) + 1)
    for name, gap in (*gaps._asdict().items(), ("cosine modes", found.bands[apart])):
        layers.plot(at, gap[:, -1], "o-", ms=3, label=name.replace("_", " "))
    layers.set(xlabel="layer", ylabel="energy kept, trailing / leading, g = 0", yscale="log")
    layers.legend(frameon=False, fontsize=7)
    for g, gaps in found.gaps.items():
        steps.plot(gaps.held_out[-1], label=f"last layer, g = {g:g}")
        steps.plot(gaps.held_out[0], "--", lw=1, label=f"first layer, g = {g:g}")
    steps.set(xlabel="step", ylabel="energy kept, held out")
    steps.legend(frameon=False, fontsize=7)
    for ax in (layers, steps):
        ax.axhline(1, color="black", lw=0.8)
    for ax in (coarse, fine, layers, steps):
        ax.spines[["top", "right"]].set_visible(False)
    return figure
