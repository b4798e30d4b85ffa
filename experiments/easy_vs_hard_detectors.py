"""Holding heads as detectors: equally good ones compared, and what the jump's loss and the tier are worth to them."""

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd

from experiments.easy_vs_hard_arms_tables import Told, line, told
from experiments.easy_vs_hard_contrasts import OWN, TIERS, contrasts
from experiments.easy_vs_hard_report import tabled
from experiments.six_attempts_verdicts import T_ALONE
from gidd_jax.analysis import equivalence, final, mean_interval

AT = (0.75, 0.85, 0.9)
"""AUROC on random wrong cells at which detectors are compared: equally good ones."""
WITHIN = 0.03
"""A difference in AUROC that would not matter."""
TWINS = {"alone": (0.0, 1.0), "coupled": (1.0, 1.0), "twin": (1.0, 0.0)}
"""K and the weight of the jump's loss."""
GAPS = (("twin", "coupled"), ("alone", "twin"), ("alone", "coupled"))
ENDS = (
    *("holding_loss", "separation", "auroc_random", "auroc_branch"),
    *("knockout_zero_holding", "knockout_random_holding", "jump_loss"),
)
ENOUGH = 0.02
"""A difference in holding loss, nats, that would not matter."""


def by_evaluation(table: pd.DataFrame, known: dict[int, str]) -> pd.DataFrame:
    """AUROC of the holding head, branch and random, by tier, K, seed and boards seen, on validation boards."""
    own = table[(table["split"] == "validation") & (table["bin"] == -1) & table["metric"].str.startswith("auroc_")]
    keys = ["tier", "attention", "seed", "presentations"]
    return own.assign(tier=own["tier"].map(known)).pivot_table(index=keys, columns="metric", values="value")


def detectors(curves: pd.DataFrame, least: int = 2) -> Told:
    """AUROC on wrong branches of detectors equally good at random wrong cells: coupled less alone, hard less easy.

    The answer takes at least ``least`` pairs that get there.
    """
    found, answer = [], ""
    trained = [tier for tier in TIERS if tier in curves.index.get_level_values("tier")]
    for level in AT:
        at = curves.groupby(level=[0, 1, 2]).apply(reached, level).unstack()
        branch = at.map(lambda each: each[0])
        boards = at.map(lambda each: each[1])
        arm = f"random cells at {level:g}"
        for tier, K in itertools.product(trained, (0.0, 1.0)):
            found += [line(arm, K, f"{tier}: AUROC, wrong branch", branch.loc[tier, K])]
            found += [line(arm, K, f"{tier}: boards seen", boards.loc[tier, K])]
        gaps = {tier: branch.loc[tier, 1.0] - branch.loc[tier, 0.0] for tier in trained}
        found += [line(arm, 1.0, f"{tier}: coupled - alone", gap) for tier, gap in gaps.items()]
        if trained == list(TIERS):
            pairs = {K: branch.loc["hard", K] - branch.loc["easy", K] for K in (0.0, 1.0)}
            found += [line(arm, K, "hard - easy", gap) for K, gap in pairs.items()]
        if level == AT[1]:
            word = _word(gaps["hard"].dropna(), least)
            answer = f"coupled - alone, trained on hard, random cells at {level:g}: {word}"
    text, lines = told(found, "a level that is not reached counts in no mean; n says how many were")
    return f"{text}\n{answer}", lines


def by_twin(table: pd.DataFrame, measures: Iterable[str]) -> dict[str, dict[str, pd.DataFrame]]:
    """Measures on validation boards, [seed] x [boards seen], of every one of ``TWINS``."""
    own = table[(table["split"] == "validation") & (table["bin"] == -1)]
    found = {}
    for measure in measures:
        by = own[own["metric"] == measure].pivot_table(
            index=["attention", "jump_weight", "seed"], columns="presentations", values="value"
        )
        found[measure] = {name: by.loc[pair] for name, pair in TWINS.items()}
    return found


def ends(table: pd.DataFrame) -> pd.DataFrame:
    """Every measure of ``ENDS`` at the end, test boards, of every one of ``TWINS``: a line a setting and seed."""
    last = final(table)
    named = {pair: name for name, pair in TWINS.items()}
    settings = [named[pair] for pair in zip(last["attention"], last["jump_weight"], strict=True)]
    rows = last.assign(setting=settings)[(last["bin"] == -1) & last["metric"].isin(ENDS)]
    return rows.pivot_table(index=["setting", "seed"], columns="metric", values="value")[list(ENDS)].loc[list(TWINS)]


def twin(table: pd.DataFrame) -> Told:
    """What the jump's loss is worth to a coupled holding head, and what a second tower is worth without it."""
    at_end, found = ends(table), []
    own = {name: at_end.loc[name] for name in TWINS}
    gaps = {f"{one} - {other}": own[one] - own[other] for one, other in GAPS}
    for measure in ENDS:
        word = measure.replace("_", " ")
        found += [line(name, TWINS[name][0], word, values[measure]) for name, values in own.items()]
        found += [line(name, 1.0, word, gap[measure]) for name, gap in gaps.items()]
    learned = {name: values["separation"] > T_ALONE for name, values in own.items()}
    among = gaps["alone - coupled"]["holding_loss"][learned["alone"]]
    found += [line("alone - coupled", 1.0, "holding loss, where alone has learned", among)]
    rows = final(table)
    rows = rows[rows["metric"] == "holding_loss/t"]
    by_t = rows.pivot_table(index="seed", columns=["bin", "attention", "jump_weight"], values="value")
    for b in sorted(rows["bin"].unique()):
        found += [line("twin - coupled", 1.0, f"holding loss at t in bin {b}", by_t[b, 1.0, 0.0] - by_t[b, 1.0, 1.0])]
    taught = gaps["twin - coupled"]["holding_loss"]
    answer = "a second tower is enough" if equivalence(taught, 0 * taught, ENOUGH).equivalent else "open"
    answer = "the jump's loss teaches" if mean_interval(taught).low > 0 else answer
    text, lines = told(found, "twin: coupled, without the jump's loss; AUROC on hard boards, a probability")
    counts = ", ".join(f"{name} {own.sum()} of {len(own)}" for name, own in learned.items())
    text = f"{text}\nheads that have learned (separation above 1/3): {counts}"
    return f"{text}\nholding loss, twin - coupled: {answer}", lines


def by_tier(table: pd.DataFrame) -> Told:
    """Benefit of coupling by the tier trained on, each head on its own and on both tiers, and its D, at the end."""
    found, last = contrasts(table), final(table)
    at = last[(last["metric"] == "separation") & (last["bin"] == -1) & (last["tier"] == last["test"])]
    learned = at.assign(learned=at["value"] > T_ALONE).groupby(["tier", "attention"])["learned"].agg(["sum", "size"])
    counts = [f"{tier} K {K:g}: {row['sum']} of {row['size']}" for (tier, K), row in learned.iterrows()]
    row = found[(found["head"] == "holding") & (found["test"] == OWN)].iloc[0]
    answer = "the same" if row["p_equivalent"] < 0.05 else f"open, {row['detectable']:.3f} nats would have been found"
    answer = "more on hard boards" if row["low"] > 0 else answer
    text = "\n\n".join([tabled(found, OWN), tabled(found, *TIERS)])
    text += f"\n\nheads that have learned (separation above 1/3, own tier): {', '.join(counts)}"
    return f"{text}\nbenefit to the holding head: {answer}", found


def _word(gap: pd.Series, least: int) -> str:
    """What a difference in AUROC at equal skill says of coupling; decided beforehand."""
    if len(gap) < least:
        return "open: too few get there"
    if mean_interval(gap).low > 0:
        return "more than sooner"
    return "only sooner" if equivalence(gap, 0 * gap, WITHIN).equivalent else "open"


def reached(curve: pd.DataFrame, level: float) -> tuple[float, float]:
    """AUROC on wrong branches, and boards seen, where that on random cells first gets to the level.

    Straight between two evaluations; NaN if it never gets there.
    """
    random, branch = curve["auroc_random"].to_numpy(), curve["auroc_branch"].to_numpy()
    boards = curve.index.get_level_values("presentations").to_numpy(float)
    there = np.flatnonzero(random >= level)
    if not len(there) or there[0] == 0:
        return np.nan, np.nan
    i = there[0]
    share = (level - random[i - 1]) / (random[i] - random[i - 1])
    return tuple(float(x[i - 1] + share * (x[i] - x[i - 1])) for x in (branch, boards))
