"""What a person reads of the factorial: losses without coupling, contrasts, order parameters, what was decided."""

import pandas as pd

from experiments.easy_vs_hard_contrasts import (
    HEADS,
    ORDERS,
    OWN,
    TIERS,
    detection,
    losses,
    verdict,
    visible,
)
from gidd_jax.analysis import final


def tell(
    table: pd.DataFrame, found: pd.DataFrame, ordered: pd.DataFrame, levels: pd.DataFrame, chance: float, about: str
) -> str:
    """All of it, block by block; ``about``: what the easy and the hard boards are."""
    blocks = [about, alone(table, chance), tabled(found, OWN), tabled(found, *TIERS), order_lines(ordered)]
    return "\n\n".join([*blocks, auroc_lines(levels), f"{verdict(table, found, chance)}\n{detection(table)}"])


def alone(table: pd.DataFrame, chance: float) -> str:
    """The losses that coupling has to improve on: every model without coupling on both tiers."""
    lines = [f"without coupling: loss at t in [.6, 1] (nats a cell; chance {chance:.3f}), cells right at k = 1"]
    last = final(table)
    right = last[(last["metric"] == "cell_accuracy@1") & (last["attention"] == 0)]
    for group, seen in visible(table).items():
        for tier in TIERS:
            for test in TIERS:
                parts = [f"{head} {losses(table, group, head)[tier, test, 0.0].mean():.3f}" for head in HEADS]
                here = (right["group"] == group) & (right["tier"] == tier) & (right["test"] == test)
                cells = right.loc[here, "value"].mean()
                where = f"  {seen:18}trained on {tier:9}tested on {test:9}"
                lines.append(f"{where}{'   '.join(parts)}   cells right {cells:.3f}")
    return "\n".join(lines)


def tabled(found: pd.DataFrame, *tests: str) -> str:
    """An aligned line a contrast on these test tiers."""
    heads = ("visibility", "head", "tested on", "K", "B easy", "B hard", "D = hard - easy", "detectable")
    widths = (18, 9, 10, 6, 16, 16, 25, 11, 8, 8)
    lines = ["".join(f"{name:>{width}}" for name, width in zip((*heads, "p Holm", "p same"), widths, strict=True))]
    for row in found[found["test"].isin(tests)].itertuples():
        cells = (row.visibility, row.head, row.test, f"{row.coupling:g}")
        cells += (f"{row.benefit_easy:+.3f} ±{row.easy_half:.3f}", f"{row.benefit_hard:+.3f} ±{row.hard_half:.3f}")
        cells += (f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]", f"{row.detectable:.3f}")
        cells += (f"{row.p_holm:.3f}", f"{row.p_equivalent:.3f}")
        lines.append("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    own = "each model on its own tier" if tests == (OWN,) else "both models on one tier"
    lines.append(f"{own}; mean and 95 % t interval over {found['seeds'].iloc[0]} seeds, paired; B and D in nats a cell")
    return "\n".join(lines)


def order_lines(ordered: pd.DataFrame) -> str:
    """Knock-outs and AUROC, a measure beside its control, and CKA."""
    lines = ["order parameters on the own tier, AUROC on both: measure, its control, their difference"]
    for row in ordered.itertuples():
        auroc = row.measure.startswith("AUROC")
        if row.measure not in (*ORDERS, "tower_cka") or (row.tier != row.test and not auroc):
            continue
        where = f"  {row.visibility:18}{row.measure:20}{row.tier:8}on {row.test:8}K {row.coupling:<5g}"
        told = f"{row.value:+.3f} ±{row.value_half:.3f}"
        if row.measure in ORDERS:
            told += f"   {row.control:+.3f} ±{row.control_half:.3f}   {row.gap:+.3f} ±{row.gap_half:.3f}"
        lines.append(where + told)
    lines.append(
        "knock-out: loss added (nats) by zeroing what is read of the other head; control: by a random change as large"
    )
    lines.append("AUROC: wrong over right filled cells of a wrong branch; control: as many random cells wrong")
    return "\n".join(lines)


def auroc_lines(levels: pd.DataFrame) -> str:
    """AUROC on hard boards by t bin, without coupling and with all of it: a wrong branch, and as many random cells."""
    rows = levels[levels["metric"].isin([f"{name}/t" for name in ORDERS["AUROC of holding"]])]
    if rows.empty:
        return "AUROC by t: no wrong branches were asked"
    rows = rows[(rows["test"] == TIERS[1]) & rows["coupling"].isin([0, rows["coupling"].max()])]
    arms = {"auroc_branch/t": "wrong branch", "auroc_random/t": "random cells"}
    heads = "".join(f"{b / 10:>13g}" for b in range(10))
    lines = [f"{'AUROC of holding on hard boards, by t from':58}{heads}"]
    keys = ["visibility", "tier", "coupling", "metric"]
    for (seen, tier, K, metric), own in rows.groupby(keys, sort=False):
        at = own.set_index("bin")
        cells = [
            f"{at['mean'][b]:.2f} ±{at['high'][b] - at['mean'][b]:.2f}" if b in at.index else "-" for b in range(10)
        ]
        lines.append(f"  {seen:18}trained on {tier:6}K {K:<5g}{arms[metric]:14}" + "".join(f"{c:>13}" for c in cells))
    lines.append("the same branches at all noise levels: filled cells opened again, or open ones filled with the truth")
    return "\n".join(lines)
