"""What a person reads of the six attempts: one table, the controls beside attempt 3, a paragraph a verdict."""

import textwrap

import numpy as np
import pandas as pd

from experiments.six_attempts_verdicts import (
    EPOCHS,
    PUBLISHED,
    SOLVED,
    T_ALONE,
    UNTRAINED_HOLDING,
    UNTRAINED_JUMP,
    WORTH,
    Verdict,
    control_works,
    mean,
    of,
    worths,
)
from gidd_jax.analysis import final, mean_interval

HOLDING = {"1": "holding_divergence", "2": "own"}
"""What a post's holding loss is, where it is not the cross-entropy; "own" is the loss less the jump's."""


def tell(runs: pd.DataFrame, told: list[Verdict], sizes: pd.DataFrame, digits: int) -> str:
    """The table of all attempts, the controls against attempt 3, and a paragraph a verdict."""
    last = final(runs)
    paragraphs = []
    for verdict in told:
        statistics = "; ".join(
            f"{c.what} {c.mean:z.3f} [{c.low:z.3f}, {c.high:z.3f}], claimed {c.side} {c.threshold:.3g}"
            for c in verdict.claims
        )
        lines = [f"({verdict.attempt}) {verdict.outcome.upper()}; the post: {verdict.claim}."]
        lines += [f"Post's numbers: {_numbers(PUBLISHED[verdict.attempt.rstrip('ab')])}."]
        lines += [f"Here: {_ours(runs, verdict.attempt)}.", f"Decided by: {statistics}.", f"Why: {verdict.why}"]
        paragraphs.append("\n".join(textwrap.fill(line, 120, subsequent_indent="    ") for line in lines))
    seeds = last["seed"].nunique()
    works = "solves" if control_works(last) else "DOES NOT SOLVE"
    alone = mean_interval(of(last, "6c", "separation"))
    learnt = "has learnt" if alone.low > T_ALONE else "has NOT learnt" if alone.high < T_ALONE else "may have learnt"
    notes = (
        f"Held-out boards, {seeds} seeds: mean ±half-width of the 95 % t interval; losses in nats, {digits} digits,"
        f" ln n = {np.log(digits):.3f}. Excess: over the oracle's floor; work: parameters a board passes, attempt 3's "
        "being 1. "
        f"The positive control, masked diffusion, {works} {SOLVED:g} of its boards or more."
        f" The detector of 6c and of the pipeline, trained alone before, {learnt}: separation {alone.mean:.2f} "
        f"[{alone.low:.2f}, {alone.high:.2f}], 1/3 being that of t alone."
    )
    blocks = [_table(last, sizes, columns) for columns in _columns(last)]
    return "\n\n".join([*blocks, textwrap.fill(notes, 120), _controls(last), *paragraphs])


def epochs(runs: pd.DataFrame, attempt: str, metric: str) -> list[float]:
    """Training-mode means over the 1st, 10th and 20th twentieth of an attempt: the posts' epochs 1, 10 and 20."""
    rows = runs[(runs["attempt"] == attempt) & (runs["split"] == "train") & (runs["bin"] == -1)]
    if metric == "own":
        rows = rows.pivot_table(index=["seed", "step"], columns="metric", values="value").reset_index()
        rows = rows.assign(value=rows["loss"] - rows["jump_loss"])
    else:
        rows = rows[rows["metric"] == metric]
    # Attempt 4 begins where attempt 3 ends, halfway.
    first = rows["step"].max() // 2 if attempt in ("4a", "4b") else 0
    share = (rows["step"] - first) / max(rows["step"].max() - first, 1)
    return [rows.loc[(share > (e - 1) / 20) & (share <= e / 20), "value"].mean() for e in EPOCHS]


def _controls(last: pd.DataFrame) -> str:
    """What each head gains or loses against attempt 3, by seed."""
    pairs = [("jump only", "jump_loss"), ("shuffled labels", "jump_loss"), ("holding only", "holding_loss")]
    pairs += [("1", "separation"), ("GIDD's IS", "separation"), ("6c", "jump_loss"), ("pipeline", "jump_loss")]
    gaps = [f"{name} {metric.replace('_', ' ')} {_gap(last, name, metric)}" for name, metric in pairs]
    return textwrap.fill("Differences from attempt 3, paired by seed: " + "; ".join(gaps) + ".", 120)


def _gap(last: pd.DataFrame, attempt: str, metric: str) -> str:
    found = mean_interval(of(last, attempt, metric) - of(last, "3", metric))
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _columns(last: pd.DataFrame) -> list[list[str]]:
    heads = ["jump_loss", "jump_accuracy", "holding_excess", "divergence_excess", "separation", "precision", "recall"]
    return [heads, [metric for base in WORTH for metric in worths(last, base)]]


def _table(last: pd.DataFrame, sizes: pd.DataFrame, metrics: list[str]) -> str:
    lines = []
    for name, size in sizes.iterrows():
        cells = {"attempt": name}
        if metrics[0] == "jump_loss":
            cells |= {"parameters": f"{size['parameters']:.0f}", "passes": f"{size['passes']:.0f}"}
            cells |= {"work": f"{size['work']:.2f}"}
        for metric in metrics:
            base, at, k = metric.partition("@")
            cells[WORTH.get(base, base).replace("_", " ") + at + k] = _cell(last, str(name), metric)
        lines.append(cells)
    return pd.DataFrame(lines).to_string(index=False)


def _cell(last: pd.DataFrame, attempt: str, metric: str) -> str:
    base = metric.partition("@")[0]
    untrained = UNTRAINED_JUMP if base.startswith("jump") or base in WORTH else UNTRAINED_HOLDING
    if attempt in untrained:
        return "-"
    found = mean_interval(of(last, attempt, metric))
    return "-" if np.isnan(found.mean) else f"{found.mean:z.3f} ±{found.high - found.mean:.3f}"


def _numbers(found: dict[str, tuple[float, ...]]) -> str:
    names = {"jump": "jump loss at epochs 1/10/20", "holding": "holding loss", "cells": "by k: cells right"}
    return ", ".join(f"{names.get(name, name)} {'/'.join(f'{x:.5g}' for x in xs)}" for name, xs in found.items())


def _ours(runs: pd.DataFrame, attempt: str) -> str:
    """The numbers a post prints, of this run."""
    last, found = final(runs), {"jump": epochs(runs, attempt, "jump_loss")}
    if not attempt.startswith("4"):
        found["holding"] = epochs(runs, attempt, HOLDING.get(attempt, "holding_loss"))
    found |= {WORTH[base]: [mean(of(last, attempt, k)) for k in worths(last, base)] for base in WORTH}
    return _numbers(found | {name: [mean(of(last, attempt, name))] for name in ("separation", "precision")})
