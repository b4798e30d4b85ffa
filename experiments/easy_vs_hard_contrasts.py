"""What the factorial compares, and what was decided before any run: tables in, tables and sentences out.

A table here has a row's own tier (``tier``: what it was trained on) and the tier its boards were ``test``ed on.
"""

import numpy as np
import pandas as pd
from scipy.stats import t as student

from gidd_jax.analysis import equivalence, final, holm, intervals_by, mean_interval, permutation_test

HEADS = ("jump", "holding")
TIERS = ("easy", "hard")
VISIBILITY = {"g0": "given cells seen", "g1": "blind"}
OWN = "own"
MARGIN = 0.02
LEARNED = 0.1
HIGH_T = np.array([6, 7, 8, 9])
ORDERS = {
    "knock-out, jump": ("knockout_zero_jump", "knockout_random_jump"),
    "knock-out, holding": ("knockout_zero_holding", "knockout_random_holding"),
    "AUROC of holding": ("auroc_branch", "auroc_random"),
}
"""A measure and its control: a random change as large as the knock-out; random corruptions matched in count."""
ALONE = ("tower_cka", "jump_accuracy", "holding_loss", "separation", "cell_accuracy@1", "puzzle_accuracy@1")


def visible(table: pd.DataFrame) -> dict[str, str]:
    """Groups of the table -> what their models see."""
    return {group: seen for group, seen in VISIBILITY.items() if (table["group"] == group).any()}


def losses(table: pd.DataFrame, group: str, head: str, bins: np.ndarray = HIGH_T) -> pd.DataFrame:
    """Final loss over the bins of t, [seed] x [tier, test, K], nats a cell: a bin weighs as its resampled cells do."""
    rows = final(table)
    rows = rows[(rows["group"] == group) & (rows["metric"] == f"{head}_loss/t") & rows["bin"].isin(bins)]
    weight = rows["bin"] + 0.5 if head == "jump" else pd.Series(1.0, rows.index)
    rows = rows.assign(total=rows["value"] * weight, weight=weight)
    sums = rows.groupby(["seed", "tier", "test", "attention"])[["total", "weight"]].sum()
    return (sums["total"] / sums["weight"]).unstack(["tier", "test", "attention"])


def benefits(loss: pd.DataFrame, test: str, K: float) -> list[np.ndarray]:
    """B(K) = loss(0) - loss(K) by seed of models trained on easy and on hard boards, on a tier or each on its own."""
    pairs = [(tier, tier if test == OWN else test) for tier in TIERS]
    return [(loss[*pair, 0.0] - loss[*pair, K]).to_numpy() for pair in pairs]


def contrasts(table: pd.DataFrame) -> pd.DataFrame:
    """Benefit by training tier and their difference D, paired by seed: every visibility, head, test tier, coupling."""
    lines = []
    for group, seen in visible(table).items():
        for head in HEADS:
            loss = losses(table, group, head)
            for test in (OWN, *TIERS):
                for K in sorted({K for *_, K in loss.columns if K > 0}):
                    easy, hard = benefits(loss, test, K)
                    found = {"visibility": seen, "head": head, "test": test, "coupling": K, "seeds": len(loss)}
                    for name, gain in (("easy", easy), ("hard", hard)):
                        interval = mean_interval(gain)
                        found |= {f"benefit_{name}": interval.mean, f"{name}_half": interval.high - interval.mean}
                    d = mean_interval(hard - easy)
                    found |= {"difference": d.mean, "low": d.low, "high": d.high, "p": permutation_test(hard, easy)}
                    found |= {"p_equivalent": equivalence(hard, easy, MARGIN).p, "detectable": detectable(hard - easy)}
                    lines.append(found)
    found = pd.DataFrame(lines)
    return found.assign(p_holm=holm(found["p"]))


def detectable(differences: np.ndarray) -> float:
    """The least mean difference found with probability .8 by a two-sided t test at 5 % with this spread and number."""
    n = len(differences)
    return float((student.ppf(0.975, n - 1) + student.ppf(0.8, n - 1)) * np.std(differences, ddof=1) / np.sqrt(n))


def orders(table: pd.DataFrame) -> pd.DataFrame:
    """Knock-outs and AUROC beside their controls, paired by seed; CKA and skill: by visibility, tiers and coupling."""
    last = final(table)
    last = last[last["bin"] == -1]
    keys, lines = ["group", "tier", "test", "attention"], []
    for key, rows in last.groupby(keys, observed=True):
        values = rows.pivot_table(index="seed", columns="metric", values="value")
        about = dict(zip(keys, key, strict=True)) | {"seeds": len(values)}
        for name, (measure, control) in ORDERS.items():
            if {measure, control} <= set(values):
                parts = {"value": values[measure], "control": values[control], "gap": values[measure] - values[control]}
                lines.append(about | {"measure": name} | _intervals(parts))
        for name in set(ALONE) & set(values):
            lines.append(about | {"measure": name} | _intervals({"value": values[name]}))
    found = pd.DataFrame(lines).rename(columns={"group": "visibility", "attention": "coupling"})
    found = found.assign(visibility=found["visibility"].map(VISIBILITY))
    return found.sort_values(["visibility", "measure", "tier", "test", "coupling"], ascending=[False, *[True] * 4])


def by_t(table: pd.DataFrame) -> pd.DataFrame:
    """By t bin: losses, accuracy, separation and knock-outs on the own tier, AUROC on both; mean and interval."""
    last = final(table)
    own = ["jump_loss", "jump_accuracy", "holding_loss", "separation", *ORDERS["knock-out, jump"]]
    own += ORDERS["knock-out, holding"]
    base, at_own = last["metric"].str.removesuffix("/t"), last["tier"] == last["test"]
    shown = base.isin(ORDERS["AUROC of holding"]) | (base.isin(own) & at_own)
    rows = last[last["metric"].str.endswith("/t") & shown & last["value"].notna()]
    found = intervals_by(rows, ["metric", "group", "tier", "test", "attention", "bin"])
    found = found.assign(group=found["group"].map(VISIBILITY))
    return found.rename(columns={"group": "visibility", "attention": "coupling"})


def verdict(table: pd.DataFrame, found: pd.DataFrame, chance: float) -> str:
    """What was decided by the thresholds written down; ``chance`` is the loss of a jump head that knows nothing."""
    strongest = found[found["coupling"] == found["coupling"].max()].set_index(["visibility", "head", "test"])
    lines = []
    for group, seen in visible(table).items():
        alone = losses(table, group, "jump").xs(0.0, axis=1, level="attention").mean()
        above = chance - max(alone[tier, tier] for tier in TIERS)
        claim = "primary contrast" if group == "g0" else "control, predicted 0"
        row = strongest.loc[(seen, "jump", OWN)]
        if above < LEARNED:
            word = f"void: a jump head stands {above:.3f} nats from chance, it has not learned; train longer"
        elif row["low"] > 0:
            word = "supported: coupling helps the jump head more on hard boards"
        elif row["p_equivalent"] < 0.05:
            word = f"refuted: the difference lies within ±{MARGIN:g} nats"
        else:
            word = f"open: {row['detectable']:.3f} nats would have been found with probability .8"
        lines.append(f"{claim}, {seen}: D = {_d(row)}; {word}")
    common = [strongest.loc[("given cells seen", "jump", tier)] for tier in TIERS]
    told = "; ".join(f"on {tier} boards {_d(row)}" for tier, row in zip(TIERS, common, strict=True))
    return "\n".join([*lines, f"the same D of both models on one tier, given cells seen: {told}"])


def detection(table: pd.DataFrame) -> str:
    """The posts' central prediction: what the holding heads make of wrong branches of hard boards."""
    last = final(table)
    rows = last[(last["group"] == "g0") & (last["metric"] == "auroc_branch") & (last["test"] == "hard")]
    auroc = rows.pivot_table(index="seed", columns=["tier", "attention"], values="value")
    K = max(K for _, K in auroc)
    training = mean_interval(auroc["hard", K] - auroc["easy", K])
    coupling = mean_interval(auroc["hard", K] - auroc["hard", 0.0])
    lines = []
    for what, gap in (
        ("trained on hard - on easy", training),
        (f"K = {K:g} - K = 0, trained on hard", coupling),
    ):
        word = "above 0" if gap.low > 0 else "below 0" if gap.high < 0 else "open"
        lines.append(f"AUROC on wrong branches, {what}: {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]; {word}")
    return "\n".join(lines)


def _d(row: pd.Series) -> str:
    return f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _intervals(parts: dict[str, pd.Series]) -> dict[str, float]:
    found = {}
    for name, values in parts.items():
        interval = mean_interval(values)
        found |= {name: interval.mean, f"{name}_half": interval.high - interval.mean}
    return found
