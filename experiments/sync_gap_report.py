"""What the synchronisation gap's experiment prints, and its table."""

import itertools
from typing import Any

import numpy as np
import pandas as pd

from experiments.sync_gap_pooled import Pooled
from experiments.sync_gap_verdicts import (
    CLOSED,
    CONTROL,
    PARTS,
    RISING,
    SCALES,
    Measured,
    Ratios,
    Theory,
    Verdict,
    named,
    resamples,
)
from gidd_jax import analysis
from gidd_jax.replica import EVIDENT

Found = dict[tuple[int, int | None], dict[int, Measured]]
"""(Layers, class) -> seed -> what was measured."""


def tell(layers: int, kind: int | None, of_seeds: dict[int, Measured], judged: list[list[Verdict]], over: Any) -> str:
    """Everything of one depth and class, for people; ``over``: the statements pooled over seeds, None for one seed."""
    found = list(of_seeds.values())
    steps = int(found[0].until[-1])
    lines = [f"== {layers} layers, {named(kind)}, seed {', '.join(map(str, of_seeds))}"]
    lines += of_one(judged[0]) if over is None else of_several(over)
    lines += midpoints(found, steps) + ratios(found)
    for coupling in found[0].theory:
        lines += theory([each.theory[coupling] for each in found], str(coupling), steps)
    return "\n".join(lines)


def of_one(judged: list[Verdict]) -> list[str]:
    """The statements of one model, without a correction for their number."""
    lines = [f"{'statement':64}{'value [95 %]':>24}  verdict"]
    for each in judged:
        shown = f"{each.value:.2f}" + (f" [{each.low:.2f}, {each.high:.2f}]" if np.isfinite(each.low) else "")
        lines.append(f"{each.statement:64}{shown:>24}  {each.word}")
    return lines


def of_several(over: list[Pooled]) -> list[str]:
    """The statements over models of several seeds."""
    lines = [f"{'statement':64}{'mean [95 %]':>24}{'Holm p':>8}  {'verdict':34}by seed"]
    for each in over:
        by_seed = " ".join(f"{value:.2f}" for value in each.values)
        shown = f"{each.mean:.2f} [{each.low:.2f}, {each.high:.2f}]"
        lines.append(f"{each.statement:64}{shown:>24}{each.p:8.3f}  {each.word:34}{by_seed}")
    return lines


def midpoints(found: list[Measured], steps: int) -> list[str]:
    """Where curves have their middle, by arm and scale and, side by side, seed; and from where to where they go."""
    lines = [f"midpoints in steps of {steps} [95 %], by seed; ends: commitment or cosine, means over seeds"]
    for arm, scale in itertools.product(found[0].arms, SCALES):
        cells, ends = [], []
        for each in found:
            y, strange = each.curves[scale][arm], np.median(each.curves[scale]["strangers"])
            at = analysis.midpoint(each.until, y, resamples(len(y)), RISING[scale])
            cells.append(_place(at))
            y = np.median(y, 0)[[0, -1]]
            ends.append(y if scale == "feature_cosine" else analysis.commitment(y, strange))
        start, end = np.mean(ends, 0)
        lines.append(f"  {arm:34}{scale:16}{start:6.2f} -> {end:5.2f}  {' | '.join(cells)}")
    lines.append("commitment reached at g = 1 under own noise, coarse, by the layers coupled, by seed")
    for part in PARTS:
        each = [1 - np.median(m.ends["coarse"][part]) / np.median(m.curves["coarse"]["strangers"]) for m in found]
        lines.append(f"  {part:16}{' '.join(f'{x:.2f}' for x in each)}")
    return lines


def _place(at: analysis.Midpoint) -> str:
    if np.isnan(at.step):
        return "refused"
    sure = np.isfinite(at.low)
    return f"{at.step:.1f} " + (f"[{at.low:.1f}, {at.high:.1f}]" if sure else f"({at.refused:.0%} refused)")


def ratios(found: list[Measured]) -> list[str]:
    """Energy kept at the last step, by layer, means over seeds."""
    pairs, dimension = len(found[0].curves["coarse"][CONTROL]), np.mean([each.dimension for each in found])
    inflated = analysis.expected_inflation(pairs, float(dimension))
    lines = [
        "energy kept at the last step, trailing over leading modes, by layer, mean over seeds",
        "  leading, trailing: what held out divides",
    ]
    lines.append(
        f"  D_eff {dimension:.0f} in the last layer at g = 0: forgetting alone can bring the in-sample ratio up to "
        f"{inflated:.1f}"
    )
    for coupling, name in itertools.product(found[0].ratios, Ratios._fields):
        mean = np.mean([getattr(each.ratios[coupling], name)[:, -1] for each in found], axis=0)
        lines.append(f"  {coupling!s:28}{name.replace('_', ' '):10}" + "".join(f"{x:8.2f}" for x in mean))
    return lines


def theory(of: list[Theory], coupling: str, steps: int) -> list[str]:
    """The theory's coefficients, closure, gamma and predictions at one coupling, means over seeds and steps."""
    mean = lambda pick: np.mean([np.asarray(pick(each)) for each in of], axis=0)  # noqa: E731
    lines = [f"theory at {coupling}, by block, means over steps: leading | trailing modes"]
    for name in ("chi", "pi", "feed", "cross"):
        lead, trail = np.split(mean(lambda each, n=name: np.mean(getattr(each.terms, n), 0)), 2, axis=1)
        cells = "".join(f"  {a:6.3f}|{b:6.3f}" for a, b in zip(lead.mean(1), trail.mean(1), strict=True))
        lines.append(f"  {name:6}{cells}")
    worst = max(float(np.max(each.terms.error)) for each in of)
    lines.append(f"  the paths add up to the exact derivative of every block: error {worst:.1e}")
    off = mean(lambda each: each.closure.mean(0))
    lines.append("  log2 of measured spread over the product of eta (56), by block")
    lead, trail = (part.mean(1) for part in np.split(off, 2, axis=1))
    lines.append("        " + "".join(f"  {a:6.2f}|{b:6.2f}" for a, b in zip(lead, trail, strict=True)))
    lines.append(f"  over the whole path: {mean(along_path).mean():.1f} (measured {mean(grown).mean():.1f})")
    gamma = np.stack([np.asarray(each.local.gain.gamma) for each in of])
    explained = np.stack([np.asarray(each.local.gain.explained) for each in of])
    lines.append(f"  gamma > 0 at {(gamma > 0).mean():.0%} of steps and blocks; explains {np.median(explained):.1%}")
    two = np.stack([np.asarray(each.local.branching.evidence) > EVIDENT for each in of])
    largest = max(float(np.nanmax(each.local.kappa, initial=0)) for each in of)
    lines.append(f"  two branches likelier than one at {two.mean():.1%} of steps, blocks and modes (5 % by chance)")
    tails = mean(lambda each: tailed(np.asarray(each.amplitudes.before)))
    lines.append(
        f"  kurtosis - 3 of amplitudes (below 0 for two branches): {tails[0]:.2f} at first, {tails[-1]:.2f} at last"
    )
    lines.append(f"  undefined (gamma <= 0 or eta beyond 55): {mean(lambda e: np.isnan(e.local.kappa)).mean():.0%}")
    for place, half in (("leading", 0), ("trailing", 1)):
        lines.append(f"  {place} modes: {parting(of, half, steps)}")
    return [*lines, f"  largest kappa {largest:.2f}"]


def tailed(a: np.ndarray) -> np.ndarray:
    """Mean over blocks and modes of the kurtosis less a Gaussian's, by step [T], of amplitudes [T, L, K, M]."""
    square = np.square(a)
    return (np.square(square).mean(-1) / np.square(square.mean(-1)) - 3).mean((1, 2))


def parting(of: list[Theory], half: int, steps: int) -> str:
    """How many of the modes should part, and when; of g = 0 also how many were seen to."""
    every = lambda x: np.concatenate([np.split(each, 2, axis=1)[half].ravel() for each in x])  # noqa: E731
    wanted = every([each.predicted for each in of])
    told = f"{np.isfinite(wanted).sum()} of {wanted.size} predicted to part (median step {_median(wanted)})"
    if of[0].observed is None:
        return told
    seen = every([each.observed for each in of])
    both = np.isfinite(wanted) & np.isfinite(seen)
    told += f", {np.isfinite(seen).sum()} seen to ({_median(seen)}), {both.sum()} both"
    return told + (f", {np.abs(wanted - seen)[both].mean():.1f} steps of {steps} apart" if both.any() else "")


def along_path(of: Theory) -> np.ndarray:
    """log2 of the growth (57) predicts from the first block of the first step to the last of the last, by mode [K].

    eta is measured at some steps and a straight line between them.
    """
    every = np.arange(of.steps[-1] + 1)
    gains = np.log2(np.asarray(of.eta))
    between = np.apply_along_axis(lambda x: np.interp(every, of.steps, x), 0, gains)
    return between.sum((0, 1)) - gains[-1, -1]


def grown(of: Theory) -> np.ndarray:
    """log2 of the measured growth over the same, by mode [K]."""
    spread = np.sqrt(np.square(np.asarray(of.amplitudes.before)).mean(-1))
    return np.log2(spread[-1, -1] / spread[0, 0])


def _median(x: np.ndarray) -> str:
    return f"{np.nanmedian(x):.0f}" if np.isfinite(x).any() else "-"


def table(found: Found) -> pd.DataFrame:
    """Medians by step of parting, energy ratios by layer and step, and the theory by block, step and mode."""
    rows = []
    for (layers, kind), of_seeds in found.items():
        for seed, each in of_seeds.items():
            rows += [(layers, named(kind), seed, *row) for row in itertools.chain(_curves(each), _layers(each))]
    columns = ["layers", "kind", "seed", "arm", "measure", "layer", "mode", "step", "value"]
    return pd.DataFrame(rows, columns=columns)


def _curves(found: Measured) -> Any:
    for scale, arms in found.curves.items():
        for arm in found.arms:
            for s, y in zip(found.until, np.median(arms[arm], 0), strict=True):
                yield arm, scale, -1, -1, s, y
        yield "strangers", scale, -1, -1, 0, np.median(arms["strangers"])
        for part in PARTS[1:]:
            yield f"{CLOSED}, {part}", scale, -1, -1, found.until[-1], np.median(found.ends[scale][part])


def _layers(found: Measured) -> Any:
    steps = np.minimum(found.until, found.until[-1] - 1)
    for coupling, of in found.ratios.items():
        for name, ratio in of._asdict().items():
            for l, s in itertools.product(range(len(ratio)), steps if coupling.part == PARTS[0] else steps[-1:]):
                yield str(coupling), name, l + 1, -1, s, ratio[l, s]
    for coupling, of in found.theory.items():
        per_mode = {"eta": of.eta, "kappa": of.local.kappa, "closure": of.closure}
        for name, values in per_mode.items():
            for l, half in itertools.product(range(values.shape[1]), (0, 1)):
                means = np.split(np.asarray(values), 2, axis=2)[half][:, l].mean(-1)
                yield from ((str(coupling), name, l + 1, half, s, y) for s, y in zip(of.steps, means, strict=True))
        gamma = np.asarray(of.local.gain.gamma)
        yield from ((str(coupling), "gamma", l + 1, -1, of.steps[i], gamma[i, l]) for i, l in np.ndindex(gamma.shape))
        of_modes = {"predicted": of.predicted} | ({} if of.observed is None else {"observed": of.observed})
        for name, values in of_modes.items():
            yield from ((str(coupling), name, l + 1, k, -1, values[l, k]) for l, k in np.ndindex(values.shape))
