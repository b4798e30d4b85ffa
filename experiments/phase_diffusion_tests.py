"""The tests of ``phase_diffusion``: paired by key, with their nulls, their power and the proposal's own count rule."""

import numpy as np
import pandas as pd
from scipy import stats

from gidd_jax.analysis import equivalence, final, holm, mean_interval, permutation_test
from gidd_jax.sampling import proposal_counts
from gidd_jax.studies.phase_arms import DOSES, NAMES

MARGIN = 0.05
ALPHA = 0.05
OUTCOMES = {"nll": "nats a token", "sample_entropy": "token entropy", "distinct": "distinct bigrams"}
INFORMATION = ("neither", "yoked", "shuffled")
ORACLE = ("oracle neither", "oracle yoked", "oracle shuffled")
ALONE = {"alone": "alone", "certain": "certain alone", "positive": "oracle alone"}
METHODS = ("matched", "mean path", "untrained", "low confidence", "random order", "ancestral", "remdm", "remdm guided")
SHOWN = ("free", "oracle", "alone", "certain alone", "oracle alone", *METHODS[2:])
VERDICTS = {
    "beside the model's confidence": ("information", "neither - free", "neither", "free"),
    "alone": ("alone", "shuffled - R alone", "alone shuffled", "alone"),
    "alone, a cell's best": ("certain", "shuffled - R alone", "certain alone shuffled", "certain alone"),
    "alone, the token's (positive control)": (
        "positive",
        "shuffled - R alone",
        "oracle alone shuffled",
        "oracle alone",
    ),
}
"""What R says, how -> family and contrast that decide; the arm without R's content, the arm with it."""


def outcome(arrays: dict[str, np.ndarray], name: str, arm: str) -> np.ndarray:
    """One number a key [N]."""
    i = NAMES.index(arm)
    return distinct(arrays["tokens"][i]) if name == "distinct" else arrays[name][i]


def distinct(tokens: np.ndarray) -> np.ndarray:
    """Different bigrams of each row over all of its bigrams: tokens [N,S] -> [N]."""
    tokens = tokens.astype(np.int64)
    pairs = tokens[:, :-1] * (tokens.max() + 1) + tokens[:, 1:]
    return np.array([len(np.unique(row)) / len(row) for row in pairs])


def of_seeds(arrays: dict, K: float, name: str, arm: str) -> list[np.ndarray]:
    """The outcome of every key, by seed, at K, unmodulated."""
    return [outcome(row, name, arm) for (k, alpha, _), row in sorted(arrays.items()) if k == K and alpha == 0]


def pooled(arrays: dict, K: float, name: str, arm: str) -> np.ndarray:
    """The outcome of every key of every seed at K, unmodulated."""
    return np.concatenate(of_seeds(arrays, K, name, arm))


def couplings(arrays: dict) -> list[float]:
    """The K of unmodulated rows."""
    return sorted({k for k, alpha, _ in arrays if alpha == 0})


def contrasts(arrays: dict) -> pd.DataFrame:
    """A line a K, family, arm and outcome: mean difference from its reference, interval, p, equivalence, power."""
    lines = []
    for K in couplings(arrays):
        pairs = [("wired", ".3 - .7", "0.3", "0.7")]
        pairs += [("information", f"{arm} - free", arm, "free") for arm in INFORMATION]
        pairs += [("oracle", f"{arm.removeprefix('oracle ')} - free", arm, "oracle") for arm in ORACLE]
        pairs += [(family, "shuffled - R alone", f"{arm} shuffled", arm) for family, arm in ALONE.items()]
        pairs += [("methods", f"{arm} - free", arm, "free") for arm in METHODS]
        for family, what, arm, reference in pairs:
            for name in ("masked", *OUTCOMES):
                if name == "masked" and family != "wired":
                    continue
                first, second = pooled(arrays, K, name, arm), pooled(arrays, K, name, reference)
                d = mean_interval(first - second)
                p = permutation_test(first, second)
                line = {"K": K, "family": family, "contrast": what, "outcome": name}
                line |= {"difference": d.mean, "low": d.low, "high": d.high, "p": p}
                line |= {"p_equivalent": equivalence(first, second, MARGIN).p, "detectable": detectable(first - second)}
                lines.append(line | {"keys": len(first)})
    found = pd.DataFrame(lines)
    return found.assign(p_holm=found.groupby(["K", "family"])["p"].transform(holm))


def detectable(differences: np.ndarray) -> float:
    """The least mean difference found with probability .8 by a two-sided t test at 5 %."""
    n = len(differences)
    return float((stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)) * np.std(differences, ddof=1) / np.sqrt(n))


def slopes(arrays: dict, K: float, name: str):
    """Change of the outcome a unit of R, by key, over the eleven doses."""
    doses = np.array(DOSES) - np.mean(DOSES)
    values = np.stack([pooled(arrays, K, name, f"{dose:g}") for dose in DOSES])
    return mean_interval(doses @ values / (doses @ doses))


def controls(table: pd.DataFrame, arrays: dict) -> dict[str, object]:
    """Is span 0 mute and the oracle found? How good the denoiser is, what time leaves of R, what modulation does."""
    mute = [
        np.array([row["tokens"][NAMES.index(arm)] for arm in NAMES if arm.startswith("no span")])
        for row in arrays.values()
    ]
    found = contrasts(arrays)
    positive = found[(found["family"] == "positive") & (found["outcome"] == "nll")]
    last = final(table)
    plain = last[(last["modulation"] == 0) & (last["bin"] == -1)]
    value = lambda rows, name: mean_interval(rows[rows["metric"] == name]["value"])  # noqa: E731
    by_K = {K: plain[np.isclose(plain["coupling"], K)] for K in couplings(arrays)}
    return {
        "negative": all((each == each[:1]).all() for each in mute),
        "positive": bool(((positive["p_holm"] < ALPHA) & (positive["difference"] > 0)).all()),
        "excess": value(by_K[max(by_K)], "excess"),  # Rows that differ in K alone have one transformer.
        "left": {K: value(r, "r_spread_left").mean / value(r, "r_spread").mean for K, r in by_K.items()},
        "ece": {K: value(r, "ece") for K, r in by_K.items()},
        "core": {K: value(r, "core_loss") for K, r in by_K.items()},
        "critical": {K: value(r, "critical_coupling").mean for K, r in by_K.items()},
        "modulation": value(last[(last["modulation"] > 0) & (last["bin"] == -1)], "modulation_shift"),
    }


def verdict(rows: pd.DataFrame, contrast: str) -> str:
    """What a contrast says of nats a token at one K, by the thresholds written down."""
    row = rows[(rows["contrast"] == contrast) & (rows["outcome"] == "nll")].iloc[0]
    power = f" ({row['detectable']:.3f} nats a token would be found with probability .8)"
    if row["p_holm"] < ALPHA:
        word = "matters" if row["difference"] > 0 else "harms"
        return f"{word}, {row['difference']:+.3f} nats a token without it"
    return (f"nothing: within ±{MARGIN:g} nats" if row["p_equivalent"] < ALPHA else "open") + power


def levels(arrays: dict, real: dict[str, np.ndarray]) -> str:
    """What the texts of each sampler are like, by K, beside what real sequences are: means with 95 % t intervals."""
    lines = [f"{'samples':24}" + "".join(f"{label:>26}" for label in OUTCOMES.values())]
    for K in couplings(arrays):
        for arm in SHOWN:
            cells = [_interval(mean_interval(pooled(arrays, K, name, arm)), "") for name in OUTCOMES]
            lines.append(f"{f'K = {K:g}, {arm}':24}" + "".join(f"{cell:>26}" for cell in cells))
    values = [distinct(real["tokens"]) if name == "distinct" else real[name] for name in OUTCOMES]
    cells = [_interval(mean_interval(value), "") for value in values]
    lines.append(f"{'real, held out':24}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)


def tell(found: pd.DataFrame, arrays: dict) -> str:
    """An aligned line a contrast, slopes over the doses, and the verdicts with the mean of every seed, by K."""
    blocks = []
    for K, rows in found.groupby("K"):
        lines = [f"K = {K:g}, {rows['keys'].iloc[0]} keys: paired differences, 95 % t intervals, p by sign flips, Holm"]
        lines.append(f"{'':14}{'contrast':24}" + "".join(f"{label:>34}" for label in OUTCOMES.values()))
        for (family, contrast), part in rows.groupby(["family", "contrast"], sort=False):
            part = part.set_index("outcome")
            cells = [_cell(part.loc[name]) for name in OUTCOMES]
            lines.append(f"{family:14}{contrast:24}" + "".join(f"{cell:>34}" for cell in cells))
        wired = rows[(rows["family"] == "wired")].set_index("outcome")
        slower, wider = wired.loc["masked"], wired.loc["distinct"]
        lines.append(
            f"wired: R = .3 leaves {slower['difference']:+.3f} of the cells masked (p {_one_sided(slower):.4f}), "
            f"distinct bigrams {wider['difference']:+.3f} (p {_one_sided(wider):.4f}), both one-sided"
        )
        told = [f"{label} {_interval(slopes(arrays, K, name))}" for name, label in OUTCOMES.items()]
        lines.append("change from R = 0 to R = 1, over eleven doses: " + "; ".join(told))
        for how, (family, contrast, without, with_it) in VERDICTS.items():
            first, second = (of_seeds(arrays, K, "nll", arm) for arm in (without, with_it))
            seeds = " ".join(f"{np.mean(a - b):+.3f}" for a, b in zip(first, second, strict=True))
            lines.append(
                f"what R says, {how}: {verdict(rows[rows['family'] == family], contrast)}; seed by seed {seeds}"
            )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def told_controls(found: dict) -> str:
    """The controls, in words."""
    lines = [
        f"negative control, R with no way to act: {'equal to the bit' if found['negative'] else 'DIFFERS'}",
        f"positive control, R the chance that the token is right: {'found' if found['positive'] else 'NOT FOUND'}",
    ]
    if found["excess"].n:
        near = "within" if found["excess"].mean < MARGIN else "NOT within"
        lines.append(f"denoiser: {_interval(found['excess'])} nats a token above the best possible, {near} {MARGIN:g}")
    for K in found["left"]:
        lines.append(
            f"K = {K:g} (K_c of its frequencies {found['critical'][K]:.2f}): calibration error "
            f"{_interval(found['ece'][K])}, R as a probability {_interval(found['core'][K])} nats; "
            f"{found['left'][K]:.0%} of the variance of a "
            "sequence's R is left once the share masked is known"
        )
    if found["modulation"].n:
        lines.append(
            f"h (1 + R) once: KL {_interval(found['modulation'])} nats a masked token between R = .3 and R = .7"
        )
    return "\n".join(lines)


def proposal(cells: int = 1000, steps: int = 101) -> str:
    """The proposal's own count rule at constant R."""
    doses = np.array([0.3, 0.5, 0.7], np.float32)
    counts = proposal_counts(np.full(3, cells), np.tile(doses, (steps, 1)))
    told = [
        f"R = {dose:g}: {int(left) / cells:.1%} of the masks left over, "
        f"{max(0, int(ask) - cells) / cells:.1%} asked for too many"
        for dose, left, ask in zip(doses, counts.left_over, counts.asked[-1], strict=True)
    ]
    return "the proposal's own count rule, at the end: " + "; ".join(told)


def _cell(row: pd.Series) -> str:
    return f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] p {row['p_holm']:.3f}"


def _interval(found, sign: str = "+") -> str:
    return f"{found.mean:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


def _one_sided(row: pd.Series) -> float:
    return row["p"] / 2 if row["difference"] > 0 else 1 - row["p"] / 2
