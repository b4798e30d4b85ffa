"""What the posts printed, what decides each of their claims, and the verdicts: tables in, tuples out.

Thresholds. A holding head has learned if its separation exceeds 1/3, that of a head which knows t alone, and its
Itakura-Saito excess is below that head's; it has collapsed at a separation below .05 and a recall above .99; a jump
head has learned at .8 of ln n nats; a loss that changes by less than 5 % stands still; separation has drifted at .02;
accuracy has fallen towards chance where less than half of what was above chance is left; a variant repairs the gate if
its jump loss is below that of attempt 3.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from gidd_jax.analysis import final, mean_interval

T_ALONE = 1 / 3
SOLVED = 0.9
EPOCHS = (1, 10, 20)
_A3 = {"jump": (1.1001, 0.7873, 0.7725), "holding": (0.2890, 0.2149, 0.2116), "cells": (0.3876, 0.4025, 0.4562)}
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "1": {"jump": (1.3165, 0.8351, 0.8057), "holding": (5.4788, 5.2986, 5.2958)},
    "2": {"jump": (1.1729, 0.8057, 0.7887), "holding": (0.0001, 0.0, 0.0)},
    "3": _A3 | {"violations": (18.94, 19.66, 25.08), "separation": (0.7766,), "precision": (0.96,)},
    "4": {"jump": (0.7734, 0.7672, 0.7653)},
    "5": {"cells": (0.1523, 0.1447, 0.1146), "violations": (26.88, 26.94, 27.0)},
    "6": {"jump": (1.5951, 1.2032, 1.1851), "holding": (0.3615, 0.2238, 0.2199), "separation": (0.7674,)}
    | {"cells": (0.2732, 0.2613, 0.1621), "violations": (23.38, 24.42, 26.81)},
}
"""Losses at epochs 1, 10, 20 (training mode, nats), and by k = 1, 5, 81; 9x9 boards, one seed, no held-out boards."""

KEPT = (
    *("jump_loss", "jump_accuracy", "holding_loss", "holding_floor", "holding_excess", "holding_divergence"),
    *("divergence_floor", "divergence_from_t", "divergence_at_half", "divergence_excess"),
    *("separation", "separation_ceiling", "precision", "recall"),
)
FLOORS = ("holding_floor", "separation_ceiling", "divergence_floor", "divergence_from_t", "divergence_at_half")
WORTH = {"cell_accuracy": "cells", "puzzle_accuracy": "puzzles", "violations": "violations"}
UNTRAINED_JUMP, UNTRAINED_HOLDING = ("holding only",), ("jump only", "masked")


class Claim(NamedTuple):
    """One statistic over seeds, and on which side of its threshold the claim has it."""

    what: str
    mean: float
    low: float
    high: float
    side: str
    threshold: float

    @property
    def decided(self) -> int:
        """1 as claimed, -1 against it, 0 undecided: the interval holds the threshold, or there is one seed."""
        below = np.sign(self.threshold - np.array([self.low, self.high]))
        return int(below[0]) * (1 if self.side == "below" else -1) if below[0] == below[1] else 0


class Verdict(NamedTuple):
    """A claim of the posts and what came of it: "shown" if every statistic is as claimed, "absent" if one is not."""

    attempt: str
    claim: str
    outcome: str
    claims: tuple[Claim, ...]
    why: str


def with_excess(runs: pd.DataFrame) -> pd.DataFrame:
    """The table with the excess of both holding losses over their floors, by t bin too."""
    same = [name for name in runs.columns if name not in ("metric", "value")]
    parts = [runs]
    for axis in ("", "/t"):
        for name in ("holding", "divergence"):
            loss, floor = {"holding": "holding_loss"}.get(name, "holding_divergence") + axis, f"{name}_floor{axis}"
            pairs = runs[runs["metric"] == loss].merge(runs[runs["metric"] == floor][[*same, "value"]], on=same)
            excess = pairs.assign(metric=f"{name}_excess{axis}", value=pairs["value_x"] - pairs["value_y"])
            parts.append(excess[runs.columns])
    return pd.concat(parts, ignore_index=True)


def of(rows: pd.DataFrame, attempt: str, metric: str, bin: int = -1) -> np.ndarray:
    """The values of a metric at the end of training, by seed."""
    found = rows[(rows["attempt"] == attempt) & (rows["metric"] == metric) & (rows["bin"] == bin)]
    return found.sort_values("seed")["value"].to_numpy(float)


def verdicts(runs: pd.DataFrame, digits: int) -> list[Verdict]:
    """Attempts 1 to 6 of the posts, each held against its own statistics."""
    last, uniform = final(runs), np.log(digits)
    loss3 = of(last, "3", "jump_loss")
    return [
        *(_first(last), _second(last), _third(last, loss3, uniform)),
        *(_fourth(last, name, frozen) for name, frozen in (("4a", "holding head and trunk"), ("4b", "holding head"))),
        *(_fifth(last, loss3, digits), _sixth(last, loss3)),
    ]


def _first(last: pd.DataFrame) -> Verdict:
    floor, whole = of(last, "1", "divergence_floor"), of(last, "1", "holding_divergence")
    excess = (whole - floor) / (of(last, "1", "divergence_from_t") - floor)
    return _verdict(
        "1",
        "the holding head learns nothing under Itakura-Saito with targets 1 and 1e-6",
        f"{mean(floor / whole):.0%} of its loss is a floor: 13.8 nats for every cell that was not resampled, which no "
        "head can take away. A curve that stands near it shows the floor, not the head.",
        claim("separation", of(last, "1", "separation"), "below", T_ALONE),
        claim("excess over the floor / that of t alone", excess, "above", 1),
    )


def _second(last: pd.DataFrame) -> Verdict:
    return _verdict(
        "2",
        "asked on resampled cells alone, the holding head says 1 everywhere at a loss of 0",
        "its target is 1 wherever it is asked, so the constant 1 is the exact optimum, whatever the model or the data.",
        claim("separation", of(last, "2", "separation"), "below", 0.05),
        claim("recall", of(last, "2", "recall"), "above", 0.99),
    )


def _third(last: pd.DataFrame, loss3: np.ndarray, uniform: float) -> Verdict:
    low, high = (mean(of(last, "3", "jump_accuracy/t", bin)) for bin in (1, 9))
    one = worths(last, "puzzle_accuracy")[0]
    own, seen, masked = (mean(of(last, name, one)) for name in ("3", "3 givens", "masked"))
    return _verdict(
        "3",
        "cross-entropies teach both heads, and not one board is solved",
        f"accuracy is no skill of a cell but an average over t: {low:.0%} at t in [.1, .2), {high:.0%} in [.9, 1). The "
        "decoder starts at t = 1 from a model that cannot tell given cells from noise. At the smallest k it solves "
        f"{own:.0%}, told which cells are given {seen:.0%}, and masked diffusion, whose masks tell, {masked:.0%}.",
        claim("separation", of(last, "3", "separation"), "above", T_ALONE),
        claim("jump loss / ln n", loss3 / uniform, "below", 0.8),
        claim("boards solved at the smallest k", of(last, "3", one), "below", 0.05),
    )


def _fourth(last: pd.DataFrame, name: str, frozen: str) -> Verdict:
    # Attempt 3 is where attempt 4 begins: to its end the rows of a seed are the same.
    moved = {row: np.abs(1 - of(last, row, "jump_loss") / of(last, "3", "jump_loss")) for row in (name, "3 longer")}
    fall = of(last, "3", "separation") - of(last, name, "separation")
    return _verdict(
        name,
        f"the jump head has plateaued: trained on alone, its loss hardly moves ({frozen} frozen)",
        f"both heads trained on as before change it by {mean(moved['3 longer']):.1%} in the same steps, so much was "
        f"there to gain. Separation fell by {mean(fall):z.3f} meanwhile"
        + (": the trunk moves away from under the frozen head." if name == "4b" else "."),
        claim("change of the jump loss", moved[name], "below", 0.05),
        *([claim("fall of separation", fall, "above", 0.02)] if name == "4b" else []),
    )


def _fifth(last: pd.DataFrame, loss3: np.ndarray, digits: int) -> Verdict:
    cells = worths(last, "cell_accuracy")
    own, ungated = (np.mean([of(last, name, k) for k in cells], axis=0) - 1 / digits for name in ("5", "3"))
    return _verdict(
        "5",
        "a gate put on at inference drives accuracy to chance",
        f"the jump never saw the MASK embedding: under the gate its loss is {mean(of(last, '5', 'jump_loss')):.3f} "
        f"nats, without {mean(loss3):.3f} (attempt 3), and a head that knows nothing has {np.log(digits):.3f}.",
        claim("share of accuracy above chance that is left", own / ungated, "below", 0.5),
    )


def _sixth(last: pd.DataFrame, loss3: np.ndarray) -> Verdict:
    gaps = {name: claim("", of(last, name, "jump_loss") - loss3, "below", 0) for name in ("6b", "6c", "6d")}
    words = {1: "below the loss of 3", -1: "above it", 0: "undecided"}
    found = "; ".join(
        f"{name} {words[gap.decided]} ({gap.mean:+z.3f} [{gap.low:+z.3f}, {gap.high:+z.3f}])"
        for name, gap in gaps.items()
    )
    seen, ungated = (mean(of(last, name, "jump_loss")) for name in ("6 givens", "3 givens"))
    return _verdict(
        "6",
        "a gate in training makes the jump worse than none",
        "the flags replaced by true labels in training (6b), from a detector trained before (6c), by labels that "
        f"fade (6d): {found}. A model that sees which cells are given, and whose gate spares them, has "
        f"{seen:.3f} nats with the gate and {ungated:.3f} without.",
        claim("jump loss − that of 3", of(last, "6", "jump_loss") - loss3, "above", 0),
    )


def control_works(last: pd.DataFrame) -> bool:
    """Does masked diffusion solve its boards at the smallest k?"""
    return bool(np.mean(of(last, "masked", worths(last, "puzzle_accuracy")[0])) >= SOLVED)


def claim(what: str, values: np.ndarray, side: str, threshold: float) -> Claim:
    """The statistic over seeds, with its 95 % t interval."""
    return Claim(what, *mean_interval(values)[:3], side, threshold)


def _verdict(attempt: str, said: str, why: str, *claims: Claim) -> Verdict:
    decided = [claim.decided for claim in claims]
    outcome = "absent" if -1 in decided else "shown" if all(decided) else "undecided"
    return Verdict(attempt, said, outcome, claims, why)


def worths(last: pd.DataFrame, base: str) -> list[str]:
    """``base@k`` by rising k."""
    return sorted({m for m in last["metric"] if m.startswith(f"{base}@")}, key=lambda m: int(m.partition("@")[2]))


def mean(values: np.ndarray) -> float:
    return float(np.mean(values))
