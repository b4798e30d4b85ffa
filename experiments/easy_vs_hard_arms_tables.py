"""What the arms of the factorial tell: a sweep's table in, lines for people and a table out."""

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd

from experiments.easy_vs_hard_contrasts import HIGH_T, OWN, TIERS, benefits, losses
from gidd_jax.analysis import (
    Interval,
    describe,
    equivalence,
    final,
    loop_area,
    mean_interval,
    take_off_times,
    verdict,
)

Told = tuple[str, pd.DataFrame]
AT = (0.75, 0.85, 0.9)
"""AUROC on random wrong cells at which detectors are compared: equally good ones."""
WITHIN = 0.03
"""A difference in AUROC that would not matter."""
TWINS = {"alone": (0.0, 1.0), "coupled": (1.0, 1.0), "twin": (1.0, 0.0)}
"""K and the weight of the jump's loss."""
ENOUGH = 0.02
"""A difference in holding loss, nats, that would not matter."""


def curricula(table: pd.DataFrame, names: dict[tuple[int, int], str]) -> Told:
    """By order of tiers, named by (tier, first_tier): the benefit of K = 1 to each head and the knock-outs."""
    order = [names[pair] for pair in zip(table["tier"], table["first_tier"], strict=True)]
    table = table.assign(arm=order, tier="hard", test="hard")
    gains, found = {}, []
    for name in names.values():
        rows = table[table["arm"] == name]
        for head in ("jump", "holding"):
            loss = losses(rows, "g0", head)
            gains[name, head] = (loss["hard", "hard", 0.0] - loss["hard", "hard", 1.0]).to_numpy()
            found += [_line(name, K, f"{head} loss", loss["hard", "hard", K]) for K in (0.0, 1.0)]
            found += [_line(name, 1.0, f"{head} benefit", gains[name, head])]
            if name != "hard alone":
                gap = gains[name, head] - gains["hard alone", head]
                found += [_line(name, 1.0, f"{head} benefit - hard alone's", gap)]
            zero, random = (_scalar(rows, f"knockout_{how}_{head}") for how in ("zero", "random"))
            found += [_line(name, 1.0, f"{head} knock-out - random change", zero[1.0] - random[1.0])]
        found += [_line(name, 1.0, "tower CKA", _scalar(rows, "tower_cka")[1.0])]
    return _told(found, "tested on hard boards")


def volume(table: pd.DataFrame, names: dict[str, str], chance: float) -> Told:
    """Take-off of each head in boards seen, by coupling and by how many boards there are; differences by seed.

    Of the jump's loss from ``chance``, and of the holding head's separation from 0: its loss falls to the base rate's
    before it tells any cell from another.
    """
    found = []
    for group, name in names.items():
        for head, measure, first in (("jump", "jump_loss", chance), ("holding", "separation", 0.0)):
            curves = along(table, group, measure)
            times = take_off_times(curves.columns.to_numpy(float), curves.to_numpy(), first=first)
            times = pd.Series(times, curves.index)
            found += [_line(name, K, f"{head} take-off (boards)", times[K]) for K in (0.0, 1.0)]
            found += [_line(name, 1.0, f"{head} take-off - K = 0's (boards)", times[1.0] - times[0.0])]
            for each in dict.fromkeys((f"{head}_loss", measure)):
                ends = along(table, group, each)
                word = each.replace("_", " ")
                found += [_line(name, K, f"{word} at the end", ends.loc[K].iloc[:, -1]) for K in (0.0, 1.0)]
    note = "a take-off that is not seen counts in no mean; n says how many were"
    return _told(found, f"half way from chance ({chance:.2f} nats; separation 0) to the last level; {note}")


def along(table: pd.DataFrame, group: str, measure: str) -> pd.DataFrame:
    """A measure on validation boards by boards seen (columns), coupling and seed (rows)."""
    rows = table[(table["split"] == "validation") & (table["bin"] == -1) & (table["group"] == group)]
    own = rows[rows["metric"] == measure]
    return own.pivot_table(index=["attention", "seed"], columns="presentations", values="value")


def hysteresis(table: pd.DataFrame) -> Told:
    """Area between the ways down and up, by speed: knock-out and CKA against the K that the dial had."""
    rows = table[(table["split"] == "validation") & (table["bin"] == -1) & (table["step"] >= table["ramp_after"])]
    share = ((rows["step"] - rows["ramp_after"]) / rows["ramp_steps"]).round(9)
    rows = rows[share <= 1]
    K = rows["ramp_from"] + (rows["attention"] - rows["ramp_from"]) * share[share <= 1]
    rows, found = rows.assign(K=K.round(6)), []
    for steps, own in rows.groupby("ramp_steps"):
        for measure in ("knockout_zero_jump", "knockout_zero_holding", "tower_cka", "jump_loss", "holding_loss"):
            curves = own[own["metric"] == measure].pivot_table(index=["attention", "seed"], columns="K", values="value")
            up, down = curves.loc[1.0], curves.loc[0.0]
            area = loop_area(curves.columns.to_numpy(float), up.to_numpy(), down.to_numpy())
            found.append(_line_of(f"ramp of {steps:g} steps", np.nan, f"area, {measure.replace('_', ' ')}", area))
            middle = min(curves.columns, key=lambda k: abs(k - 0.5))
            found.append(_line(f"ramp of {steps:g} steps", middle, f"down - up, {measure}", down[middle] - up[middle]))
    return _told(found, "an area that stays as the ramp slows is hysteresis, one that shrinks is lag")


def sizes(table: pd.DataFrame, shapes: dict[str, tuple[str, int]]) -> Told:
    """Knock-out of the jump by K for each board and width, and the verdict on a transition as the width grows."""
    found, curves = [], {}
    for group, (board, width) in shapes.items():
        used = _scalar(table[table["group"] == group], "knockout_zero_jump")
        curves.setdefault(board, {})[width] = used.to_numpy()
        found += [_line(f"{board} width {width}", K, "knock-out, jump", used[K]) for K in used]
    couplings, verdicts = np.array(list(used.columns), float), []
    for board, by_width in curves.items():
        asked = verdict(couplings, by_width)
        verdicts.append(f"{board}, N the width: {describe(asked)}")
        found.append(_line_of(board, np.nan, "power of the width in max d ln r / dK", asked.sharpening.exponent))
    text, lines = _told(found, "nothing is told where the knock-outs' intervals hold 0")
    return "\n".join([text, *verdicts]), lines


def learning_rate(table: pd.DataFrame, known: dict[int, str]) -> Told:
    """Jump loss by rate, and benefit and D at the best rate of each tier and K, chosen on validation boards."""
    table = table.assign(tier=table["tier"].map(known), test=table["tier"].map(known))
    rates, found, kept = np.sort(table["learning_rate"].unique()), [], []
    by_split = {split: table[table["split"] == split] for split in ("validation", "test")}
    by_rate = {
        split: {rate: losses(rows[rows["learning_rate"] == rate], "g0", "jump") for rate in rates}
        for split, rows in by_split.items()
    }
    for key in by_rate["test"][rates[0]].columns:
        best = min(rates, key=lambda rate: by_rate["validation"][rate][key].mean())
        found += [
            _line(f"{key[0]}, rate {rate:.2g}", key[2], "jump loss", by_rate["test"][rate][key]) for rate in rates
        ]
        found += [_line(f"{key[0]}, best rate", key[2], f"jump loss at {best:.2g}", by_rate["test"][best][key])]
        kept.append(by_rate["test"][best][key])
    tuned = pd.concat(kept, axis=1)
    tuned.columns = pd.MultiIndex.from_tuples(tuned.columns)
    strongest = max(K for *_, K in tuned)
    gains = dict(zip(TIERS, benefits(tuned, OWN, strongest), strict=True))
    found += [_line(f"{tier}, best rate", strongest, "jump benefit", gain) for tier, gain in gains.items()]
    found += [_line("best rate", strongest, "D = hard - easy", gains["hard"] - gains["easy"])]
    return _told(found, f"t in bins {HIGH_T.min()} to {HIGH_T.max()} of 10; rates chosen on validation boards")


def solved(table: pd.DataFrame, known: dict[int, str]) -> pd.DataFrame:
    """Share of boards solved and model calls by tier, model, sampler, steps it may take, and seed."""
    rows = table[(table["bin"] == -1) & table["metric"].str.contains("@[a-z]", regex=True)]
    base = rows["metric"].str.partition("@")
    rows = rows.assign(measure=base[0], sampler=base[2], tier=rows["tier"].map(known))
    keys = ["tier", "model", "sampler", "steps", "seed"]
    found = rows.pivot_table(index=keys, columns="measure", values="value").reset_index()
    return found.rename(columns={"puzzle_accuracy": "solved", "cell_accuracy": "cells", "model_calls": "calls"})


def by_calls(found: pd.DataFrame) -> pd.DataFrame:
    """Boards solved and cells right of each tier, model and sampler against the calls made: mean and interval."""
    lines = []
    for key, own in found.groupby(keys := ["tier", "model", "sampler", "steps"]):
        about = dict(zip(keys, key, strict=True)) | {"calls": own["calls"].mean()}
        lines += [about | {"measure": name} | mean_interval(own[name])._asdict() for name in ("solved", "cells")]
    return pd.DataFrame(lines)


def noise(found: pd.DataFrame) -> Told:
    """Boards solved and cells right by model, sampler, calls and tier; resampling by the holding head less masks."""
    lines, words = [], {"solved": "boards solved", "cells": "cells right"}
    for row in by_calls(found).itertuples():
        what = f"{words[row.measure]} in {row.calls:.3g} calls"
        lines.append(_line_of(f"{row.tier}: {row.model}, {row.sampler}", np.nan, what, Interval(*row[-4:])))
    by_seed = found.set_index(["tier", "model", "sampler", "steps", "seed"])[["solved", "cells"]].sort_index()
    for steps, sampler, measure in itertools.product(found["steps"].unique(), ("k-pass", "remask"), by_seed.columns):
        own = {tier: by_seed.loc[tier, "two-head uniform", "resample", steps][measure] for tier in TIERS}
        gaps = {tier: own[tier] - by_seed.loc[tier, "masked", sampler, steps][measure] for tier in TIERS}
        what = f"{measure}: two-head resample - masked {sampler}"
        lines += [_line(f"{tier}: in {steps:g} steps", np.nan, what, gap) for tier, gap in gaps.items()]
        lines += [_line(f"hard - easy: in {steps:g} steps", np.nan, what, gaps["hard"] - gaps["easy"])]
    return _told(lines, "each model on its own tier")


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
            found += [_line(arm, K, f"{tier}: AUROC, wrong branch", branch.loc[tier, K])]
            found += [_line(arm, K, f"{tier}: boards seen", boards.loc[tier, K])]
        gaps = {tier: branch.loc[tier, 1.0] - branch.loc[tier, 0.0] for tier in trained}
        found += [_line(arm, 1.0, f"{tier}: coupled - alone", gap) for tier, gap in gaps.items()]
        if trained == list(TIERS):
            pairs = {K: branch.loc["hard", K] - branch.loc["easy", K] for K in (0.0, 1.0)}
            found += [_line(arm, K, "hard - easy", gap) for K, gap in pairs.items()]
        if level == AT[1]:
            word = _word(gaps["hard"].dropna(), least)
            answer = f"coupled - alone, trained on hard, random cells at {level:g}: {word}"
    text, lines = _told(found, "a level that is not reached counts in no mean; n says how many were")
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


def twin(table: pd.DataFrame) -> Told:
    """What the jump's loss is worth to a coupled holding head, and what a second tower is worth without it."""
    last, found = final(table), []
    for measure in ("holding_loss", "separation", "auroc_random", "auroc_branch"):
        rows = last[(last["metric"] == measure) & (last["bin"] == -1)]
        by = rows.pivot_table(index="seed", columns=["attention", "jump_weight"], values="value")
        own = {name: by[pair] for name, pair in TWINS.items()}
        found += [_line(name, TWINS[name][0], measure.replace("_", " "), values) for name, values in own.items()]
        gaps = {f"{one} - {other}": own[one] - own[other] for one, other in (("twin", "coupled"), ("alone", "twin"))}
        found += [_line(name, 1.0, measure.replace("_", " "), gap) for name, gap in gaps.items()]
        if measure == "holding_loss":
            taught = gaps["twin - coupled"]
    rows = last[last["metric"] == "holding_loss/t"]
    by_t = rows.pivot_table(index="seed", columns=["bin", "attention", "jump_weight"], values="value")
    for b in sorted(rows["bin"].unique()):
        found += [_line("twin - coupled", 1.0, f"holding loss at t in bin {b}", by_t[b, 1.0, 0.0] - by_t[b, 1.0, 1.0])]
    word = "a second tower is enough" if equivalence(taught, 0 * taught, ENOUGH).equivalent else "open"
    word = "the jump's loss teaches" if mean_interval(taught).low > 0 else word
    text, lines = _told(found, "twin: coupled, without the jump's loss; AUROC on hard boards, a probability")
    return f"{text}\nholding loss, twin - coupled: {word}", lines


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


def _scalar(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric's final value, [seed] x [K]."""
    rows = final(table)
    rows = rows[(rows["metric"] == metric) & (rows["bin"] == -1)]
    return rows.pivot_table(index="seed", columns="attention", values="value")


def _line(arm: str, K: float, measure: str, values: pd.Series | np.ndarray) -> dict[str, object]:
    return _line_of(arm, K, measure, mean_interval(values))


def _line_of(arm: str, K: float, measure: str, found: Interval) -> dict[str, object]:
    return {"arm": arm, "coupling": K, "measure": measure} | found._asdict()


def _told(found: list[dict[str, object]], note: str) -> Told:
    """An aligned line each, and the table."""
    wide = [max(len(str(line[name])) for line in found) + 2 for name in ("arm", "measure")]
    lines = []
    for line in found:
        K = "" if np.isnan(line["coupling"]) else f"K {line['coupling']:g}"
        told = f"{line['mean']:+.4g} [{line['low']:+.4g}, {line['high']:+.4g}]"
        lines.append(f"{line['arm']:{wide[0]}}{K:8}{line['measure']:{wide[1]}}{told}  n {line['n']}")
    return "\n".join(
        [*lines, f"mean and 95 % interval over seeds, paired; losses in nats a cell; {note}"]
    ), pd.DataFrame(found)
