"""What the arms of the factorial tell: a sweep's table in, lines for people and a table out."""

import itertools

import numpy as np
import pandas as pd

from experiments.easy_vs_hard_contrasts import HIGH_T, OWN, TIERS, benefits, losses
from gidd_jax.analysis import (
    Interval,
    describe,
    final,
    loop_area,
    mean_interval,
    take_off_times,
    verdict,
)

Told = tuple[str, pd.DataFrame]


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
            found += [line(name, K, f"{head} loss", loss["hard", "hard", K]) for K in (0.0, 1.0)]
            found += [line(name, 1.0, f"{head} benefit", gains[name, head])]
            if name != "hard alone":
                gap = gains[name, head] - gains["hard alone", head]
                found += [line(name, 1.0, f"{head} benefit - hard alone's", gap)]
            zero, random = (scalar(rows, f"knockout_{how}_{head}") for how in ("zero", "random"))
            found += [line(name, 1.0, f"{head} knock-out - random change", zero[1.0] - random[1.0])]
        found += [line(name, 1.0, "tower CKA", scalar(rows, "tower_cka")[1.0])]
    return told(found, "tested on hard boards")


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
            found += [line(name, K, f"{head} take-off (boards)", times[K]) for K in (0.0, 1.0)]
            found += [line(name, 1.0, f"{head} take-off - K = 0's (boards)", times[1.0] - times[0.0])]
            for each in dict.fromkeys((f"{head}_loss", measure)):
                ends = along(table, group, each)
                word = each.replace("_", " ")
                found += [line(name, K, f"{word} at the end", ends.loc[K].iloc[:, -1]) for K in (0.0, 1.0)]
    note = "a take-off that is not seen counts in no mean; n says how many were"
    return told(found, f"half way from chance ({chance:.2f} nats; separation 0) to the last level; {note}")


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
            found.append(line_of(f"ramp of {steps:g} steps", np.nan, f"area, {measure.replace('_', ' ')}", area))
            middle = min(curves.columns, key=lambda k: abs(k - 0.5))
            found.append(line(f"ramp of {steps:g} steps", middle, f"down - up, {measure}", down[middle] - up[middle]))
    return told(found, "an area that stays as the ramp slows is hysteresis, one that shrinks is lag")


def sizes(table: pd.DataFrame, shapes: dict[str, tuple[str, int]]) -> Told:
    """Knock-out of the jump by K for each board and width, and the verdict on a transition as the width grows."""
    found, curves = [], {}
    for group, (board, width) in shapes.items():
        used = scalar(table[table["group"] == group], "knockout_zero_jump")
        curves.setdefault(board, {})[width] = used.to_numpy()
        found += [line(f"{board} width {width}", K, "knock-out, jump", used[K]) for K in used]
    couplings, verdicts = np.array(list(used.columns), float), []
    for board, by_width in curves.items():
        asked = verdict(couplings, by_width)
        verdicts.append(f"{board}, N the width: {describe(asked)}")
        found.append(line_of(board, np.nan, "power of the width in max d ln r / dK", asked.sharpening.exponent))
    text, lines = told(found, "nothing is told where the knock-outs' intervals hold 0")
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
        found += [line(f"{key[0]}, rate {rate:.2g}", key[2], "jump loss", by_rate["test"][rate][key]) for rate in rates]
        found += [line(f"{key[0]}, best rate", key[2], f"jump loss at {best:.2g}", by_rate["test"][best][key])]
        kept.append(by_rate["test"][best][key])
    tuned = pd.concat(kept, axis=1)
    tuned.columns = pd.MultiIndex.from_tuples(tuned.columns)
    strongest = max(K for *_, K in tuned)
    gains = dict(zip(TIERS, benefits(tuned, OWN, strongest), strict=True))
    found += [line(f"{tier}, best rate", strongest, "jump benefit", gain) for tier, gain in gains.items()]
    found += [line("best rate", strongest, "D = hard - easy", gains["hard"] - gains["easy"])]
    return told(found, f"t in bins {HIGH_T.min()} to {HIGH_T.max()} of 10; rates chosen on validation boards")


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
        lines.append(line_of(f"{row.tier}: {row.model}, {row.sampler}", np.nan, what, Interval(*row[-4:])))
    by_seed = found.set_index(["tier", "model", "sampler", "steps", "seed"])[["solved", "cells"]].sort_index()
    for steps, sampler, measure in itertools.product(found["steps"].unique(), ("k-pass", "remask"), by_seed.columns):
        own = {tier: by_seed.loc[tier, "two-head uniform", "resample", steps][measure] for tier in TIERS}
        gaps = {tier: own[tier] - by_seed.loc[tier, "masked", sampler, steps][measure] for tier in TIERS}
        what = f"{measure}: two-head resample - masked {sampler}"
        lines += [line(f"{tier}: in {steps:g} steps", np.nan, what, gap) for tier, gap in gaps.items()]
        lines += [line(f"hard - easy: in {steps:g} steps", np.nan, what, gaps["hard"] - gaps["easy"])]
    return told(lines, "each model on its own tier")


def scalar(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric's final value, [seed] x [K]."""
    rows = final(table)
    rows = rows[(rows["metric"] == metric) & (rows["bin"] == -1)]
    return rows.pivot_table(index="seed", columns="attention", values="value")


def line(arm: str, K: float, measure: str, values: pd.Series | np.ndarray) -> dict[str, object]:
    return line_of(arm, K, measure, mean_interval(values))


def line_of(arm: str, K: float, measure: str, found: Interval) -> dict[str, object]:
    return {"arm": arm, "coupling": K, "measure": measure} | found._asdict()


def told(found: list[dict[str, object]], note: str) -> Told:
    """An aligned line each, and the table."""
    wide = [max(len(str(each[name])) for each in found) + 2 for name in ("arm", "measure")]
    lines = []
    for each in found:
        K = "" if np.isnan(each["coupling"]) else f"K {each['coupling']:g}"
        value = f"{each['mean']:+.4g} [{each['low']:+.4g}, {each['high']:+.4g}]"
        lines.append(f"{each['arm']:{wide[0]}}{K:8}{each['measure']:{wide[1]}}{value}  n {each['n']}")
    return "\n".join(
        [*lines, f"mean and 95 % interval over seeds, paired; losses in nats a cell; {note}"]
    ), pd.DataFrame(found)
