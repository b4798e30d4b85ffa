"""From the table of a Kuramoto sweep to curves by size, and what they say in words."""

import numpy as np
import pandas as pd

from gidd_jax.analysis.derive import require_dial, swept
from gidd_jax.analysis.intervals import mean_interval
from gidd_jax.analysis.transitions import Verdict, verdict
from gidd_jax.errors import InputError

RAMP = ("order_parameter/up", "order_parameter/down")


def systems(table: pd.DataFrame, dial: str) -> dict[str, tuple[int, pd.DataFrame]]:
    """The systems of a sweep by name, smallest first: {"N = 100": (100, its last rows)}.

    A name carries every other hyper that was swept, so that curves are compared and never averaged over these.
    """
    require_dial(table, dial)
    last = table[table["split"] == "stationary"]
    last = last[last["step"] == last.groupby("group")["step"].transform("max")]
    others = [name for name in swept(last) if name != dial]
    found = {}
    for key, rows in last.groupby(["group", *others], observed=True):
        sizes = rows.loc[rows["metric"] == "oscillators", "value"]
        if sizes.empty:
            raise InputError("the table holds no number of oscillators: no Kuramoto sweep")
        name = ", ".join([f"N = {sizes.iloc[0]:g}", *(f"{n} {v:g}" for n, v in zip(others, key[1:], strict=True))])
        found[name] = (int(sizes.iloc[0]), rows)
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def curve(rows: pd.DataFrame, dial: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(K [nK] rising, values [seeds, nK]) of one system's metric; seeds that died at some K are left out."""
    values = rows[(rows["metric"] == metric) & (rows["bin"] == -1)]
    grid = values.pivot(index="seed", columns=dial, values="value").dropna()
    return grid.columns.to_numpy(float), grid.to_numpy()


def ramp(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K [levels], r on the way up, r on the way down, both [seeds, levels]) of one system that was ramped."""
    pivots = [
        rows[rows["metric"] == metric].pivot(index="row", columns="bin", values="value").dropna()
        for metric in ("coupling/level", *RAMP)
    ]
    return pivots[0].to_numpy()[0], pivots[1].to_numpy(), pivots[2].to_numpy()


def found_transition(table: pd.DataFrame, dial: str) -> Verdict | None:
    """The verdict on a table of 3 sizes or more at the same K; None for fewer, or where another hyper was swept too."""
    named = systems(table, dial)
    curves = {N: curve(rows, dial, "order_parameter") for N, rows in named.values()}
    if len(curves) < max(3, len(named)) or len({tuple(K) for K, _ in curves.values()}) > 1:
        return None
    K = next(iter(curves.values()))[0]
    if len(K) < 3 or min(len(r) for _, r in curves.values()) < 3:
        return None
    return verdict(K, {N: r for N, (_, r) in curves.items()})


def format_transition(table: pd.DataFrame, dial: str) -> str:
    """The sweep as text: r at each coupling beside theory, by system, then the verdict where there are 3 sizes."""
    if RAMP[0] in set(table["metric"]):
        return _format_ramp(table, dial)
    lines = []
    for name, (_, rows) in systems(table, dial).items():
        (K, r), (_, theory) = (curve(rows, dial, metric) for metric in ("order_parameter", "order_parameter_theory"))
        critical = curve(rows, dial, "critical_coupling")[1].flat[0]
        lines.append(f"{name}, {len(r)} seeds, K_c = {critical:.4g} in theory\n{dial:>10}  r over seeds      theory")
        for k, at in enumerate(K):
            mean = mean_interval(r[:, k])
            lines.append(f"{at:10.4g}  {mean.mean:.3f} ±{mean.high - mean.mean:.3f}      {theory[0, k]:.3f}")
        lines.append("")
    return "\n".join([*lines, describe(found_transition(table, dial))])


def describe(found: Verdict | None) -> str:
    """The verdict in one or two lines."""
    if found is None:
        return "transition: not asked; it takes 3 sizes at the same couplings, and 3 seeds"
    sharp, law = found.sharpening, found.law
    text = f"transition: {found.order}; the rise sharpens as N^{_interval(sharp.exponent)}, p = {sharp.p:.2g}"
    if found.order == "none":
        return text
    if law is None:
        return f"{text}; no fit, too few K where r is clear of its fluctuations"
    if found.order == "discontinuous":
        return f"{text};\nr jumps: beta = {_interval(law.exponent)} (95 % over seeds), near 0"
    return f"{text};\nK_c = {_interval(law.critical)}, beta = {_interval(law.exponent)} (95 % over seeds)"


def _format_ramp(table: pd.DataFrame, dial: str) -> str:
    lines = []
    for name, (_, rows) in systems(table, dial).items():
        K, up, down = ramp(rows)
        lines.append(f"{name}, {len(up)} ramps\n{dial:>10}  r up    r down")
        lines += [
            f"{k:10.4g}  {u:.3f}   {d:.3f}" for k, u, d in zip(K, up.mean(axis=0), down.mean(axis=0), strict=True)
        ]
    return "\n".join(lines)


def _interval(x) -> str:
    return f"{x.mean:.3g} [{x.low:.3g}, {x.high:.3g}]"
