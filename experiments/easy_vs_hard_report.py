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


def tell(table: pd.DataFrame, found: pd.DataFrame, ordered: pd.DataFrame, chance: float) -> str:
    """All of it, block by block."""
    blocks = [alone(table, chance), tabled(found, OWN), tabled(found, *TIERS), order_lines(ordered)]
    return "\n\n".join([*blocks, f"{verdict(table, found, chance)}\n{detection(table)}"])


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
    heads = ("visibility", "head", "tested on", "K", "B singles", "B search", "D = search - singles", "detectable")
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
