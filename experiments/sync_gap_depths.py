"""Where in the network does the gap arise: in its last layers, or in its last share? Models of several depths compared.

    python -m experiments.sync_gap_depths runs/8/sync_gap.csv runs/24/sync_gap.csv --out runs/depths

Reads what `experiments.sync_gap` wrote. Of every model, with no class given, at g = 0 and the last step: the energy
kept by trailing over leading modes, held out, by layer. w is the distance from the end, in layers, at which this ratio
last crosses the middle between its mean over the first half of the layers and its value in the last. Over models of
depth L

    ln w = a + b ln L:    b = 0 for a number of layers, b = 1 for a share of the depth.

Fixed after 8 layers (three seeds), 12 and 24 (one each) had been seen and before the other seeds of 12 and 24 were: a
share, where Student's 95 % interval of b holds 1 and not 0, a number where it holds 0 and not 1, else undecided. A
model whose ratio rises by less than 0.1 has no w and is told of; it is in no fit.
"""

import pathlib
import sys
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from experiments import command
from gidd_jax import files
from gidd_jax.errors import InputError

LEAST_RISE = 0.1


class Profile(NamedTuple):
    """A model's ratio by layer, and how many layers from the end it has risen by half; NaN if it hardly rises."""

    layers: int
    seed: int
    ratio: np.ndarray
    width: float


class Slope(NamedTuple):
    """b with its 95 % interval, and what it decides."""

    b: float
    low: float
    high: float
    word: str


def profiles(table: pd.DataFrame) -> list[Profile]:
    """Every model of the tables, least depth first."""
    asked = (table["kind"] == "no class") & (table["arm"] == "g = 0") & (table["measure"] == "held_out")
    own = table[asked & (table["step"] == table.loc[asked, "step"].max())]
    found = []
    for (layers, seed), each in own.groupby(["layers", "seed"]):
        ratio = each.sort_values("layer")["value"].to_numpy()
        found.append(Profile(int(layers), int(seed), ratio, half_width(ratio)))
    return found


def half_width(ratio: np.ndarray) -> float:
    """Layers from the end back to the last crossing of the middle between the first half's mean and the last value."""
    low, high = ratio[: len(ratio) // 2].mean(), ratio[-1]
    if high - low < LEAST_RISE:
        return np.nan
    middle = (low + high) / 2
    below = int(np.flatnonzero(ratio < middle)[-1])
    return len(ratio) - 1 - below - (middle - ratio[below]) / (ratio[below + 1] - ratio[below])


def slope(found: list[Profile]) -> Slope:
    """b over the models that have a w; of fewer than three, or of one depth, nothing is decided."""
    rising = [each for each in found if np.isfinite(each.width)]
    depths = np.log([each.layers for each in rising])
    if len(rising) < 3 or np.ptp(depths) == 0:
        return Slope(np.nan, np.nan, np.nan, "undecided")
    fit = stats.linregress(depths, np.log([each.width for each in rising]))
    reach = stats.t.ppf(0.975, len(rising) - 2) * fit.stderr
    low, high = fit.slope - reach, fit.slope + reach
    number, share = low <= 0 <= high, low <= 1 <= high
    word = "undecided" if number == share else "a number of layers" if number else "a share of the depth"
    return Slope(fit.slope, low, high, word)


def told(found: list[Profile], over: Slope) -> str:
    """A line a model, and the slope."""
    lines = [f"{'layers':>6}{'seed':>6}{'rise':>8}{'w, layers':>11}{'w / L':>8}"]
    for each in found:
        rise = each.ratio[-1] - each.ratio[: each.layers // 2].mean()
        lines.append(f"{each.layers:6}{each.seed:6}{rise:8.2f}{each.width:11.2f}{each.width / each.layers:8.3f}")
    lines.append(f"ln w over ln L: b = {over.b:.2f} [{over.low:.2f}, {over.high:.2f}], {over.word}")
    return "\n".join(lines)


def drawn(found: list[Profile]) -> Figure:
    """Every model's share of its own rise, against layers from the end, and against the share of the depth."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rising = [each for each in found if np.isfinite(each.width)]
    for colour, layers in enumerate(dict.fromkeys(each.layers for each in rising)):
        own = [each for each in rising if each.layers == layers]
        back = np.arange(layers)[::-1]
        for i, each in enumerate(own):
            low = each.ratio[: layers // 2].mean()
            risen = (each.ratio - low) / (each.ratio[-1] - low)
            label = f"{layers} layers, {len(own)} seed{'s' if len(own) > 1 else ''}" if i == 0 else None
            left.plot(back, risen, "o-", color=f"C{colour}", ms=3, lw=1, label=label)
            right.plot(back / layers, risen, "o-", color=f"C{colour}", ms=3, lw=1)
    for axes, name in ((left, "layers from the end"), (right, "distance from the end / depth")):
        axes.axhline(0.5, color="black", lw=0.8, ls=":")
        axes.set_xlabel(name)
        axes.invert_xaxis()
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("share of the model's own rise\n(held out, g = 0, last step)")
    left.set_xlim(12, -0.5)
    left.legend(frameon=False, fontsize=8)
    return figure


def main(tables: list[pathlib.Path], out: pathlib.Path) -> int:
    """Reads, tells, draws -> exit status."""
    if missing := [path for path in tables if not path.is_file()]:
        raise InputError(f"{missing[0]}: no such file; give the sync_gap.csv that experiments.sync_gap writes")
    found = profiles(pd.concat(map(pd.read_csv, tables)))
    if not found:
        raise InputError("no model without a class in these tables: run experiments.sync_gap with --classes alone")
    text = told(found, slope(found))
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    files.write_text(out / "depths.txt", text + "\n")
    files.write(out / "depths.png", lambda path: drawn(found).savefig(path, dpi=150, format="png"))
    return 0


if __name__ == "__main__":
    with command.line("sync_gap_depths"):
        parser = command.parser("sync_gap_depths", __doc__)
        parser.add_argument("tables", nargs="+", type=pathlib.Path, metavar="sync_gap.csv")
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/depths"))
        sys.exit(main(**vars(parser.parse_args())))
