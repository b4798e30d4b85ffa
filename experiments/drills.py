"""What can go wrong around a sweep, done to it on purpose: kills, damage, full disks, clocks, interrupts, bad boards.

    python -m experiments.drills --out runs/drills

Every drill runs the command itself on a tiny sweep and compares its end, to the bit, with that of a sweep nothing was
done to. Prints a table, and writes it with every kill as text, CSV and a figure; exit status 1 where a drill fails. A
third of an hour on two cores. Disks are drilled where mounting is allowed (root, or user namespaces), clocks
where there is a C compiler.
"""

import pathlib
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments import command, drill_boards, drill_damage, drill_disk, drill_inputs, drill_kills
from experiments.drill_tools import Found
from gidd_jax import files
from gidd_jax.commands import flags

COLOURS = {"start-up": "C7", "training": "C0", "writing": "C3"}


def main(out: pathlib.Path, kills: int, boards: int, flips: int, seed: int) -> int:
    """Does every drill -> exit status."""
    flags.prepare_jax()
    found: list[Found] = []
    for name, drill in drills(out, kills, boards, flips).items():
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="drill-", dir=_made(out)) as folder:
            found += drill(pathlib.Path(folder), np.random.default_rng(seed))
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    text = table(found)
    files.write_text(out / "drills.txt", text + "\n")
    print(text)
    return 0 if all(each.held for each in found) else 1


def drills(out: pathlib.Path, kills: int, boards: int, flips: int) -> dict[str, Callable[..., list[Found]]]:
    """Name -> (folder, random numbers) -> lines of the table."""

    def killed(folder: pathlib.Path, rng: np.random.Generator) -> list[Found]:
        line, every = drill_kills.kills(folder, kills, rng)
        every.to_csv(out / "kills.csv", index=False)
        files.write(out / "kills.png", lambda path: drawn(every).savefig(path, dpi=150, format="png"))
        return [line]

    return {
        "kills": killed,
        "interrupts": drill_kills.interrupts,
        "second process": lambda folder, rng: [drill_kills.second_process(folder, rng)],
        "damage": lambda folder, rng: drill_damage.damages(folder, flips, rng),
        "disks": lambda folder, rng: drill_disk.disks(folder),
        "clocks": lambda folder, rng: [drill_inputs.clocks(folder, rng)],
        "overflow": lambda folder, rng: [drill_inputs.overflow(folder)],
        "data": lambda folder, rng: [drill_inputs.data_changes(folder)],
        "boards": lambda folder, rng: [fuzzed(folder, boards)],
    }


def fuzzed(folder: pathlib.Path, count: int) -> Found:
    """Files of boards that nobody should write."""
    result = drill_boards.fuzz(folder, count, seed=count)
    ends = {end: sum(n for (_, at), n in result.ends.items() if at == end) for end in ("accepted", "refused")}
    seen = (
        f"{ends['accepted']:,} accepted, all their boards right; {ends['refused']:,} refused in one line; "
        f"the slowest {result.slowest:.2f} s; " + ("; ".join(result.broken) or "nothing else")
    )
    return Found(f"fuzzed board files of {len(drill_boards.KINDS)} kinds", count, seen, not result.broken)


def table(found: list[Found]) -> str:
    """The lines, aligned; what was seen is wrapped."""
    wide, seen = max(len(each.drill) for each in found), 70
    lines = [f"{'drill':{wide}}  {'tries':>6}  {'what was seen':{seen}}  verdict"]
    for each in found:
        first, *rest = textwrap.wrap(each.seen, seen)
        verdict = "holds" if each.held else "FAILS"
        lines.append(f"{each.drill:{wide}}  {each.tries:6,}  {first:{seen}}  {verdict}")
        lines += [" " * (wide + 10) + line for line in rest]
    return "\n".join(lines)


def drawn(every: pd.DataFrame) -> Figure:
    """Of every kill: where the start went on from, how far it showed it had come, and what was safe on disk."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    ax = figure.subplots()
    for moment, colour in COLOURS.items():
        some = every[every["moment"] == moment]
        begun = some["resumed_from"].astype(float).fillna(some["saved"])
        ax.vlines(some["kill"], begun / 1e3, some["saved"] / 1e3, color=colour, lw=2, label=f"killed in {moment}")
        ax.plot(some["kill"], some["saved"] / 1e3, "o", ms=4, color=colour)
        ax.plot(some["kill"], some["last_step_shown"].astype(float) / 1e3, "x", ms=4, color=colour)
    ax.plot([], [], "o", ms=4, color="black", label="newest checkpoint, where the next start went on")
    ax.plot([], [], "x", ms=4, color="black", label="last step the bar showed")
    ax.set(xlabel="kill", ylabel="step (thousands)")
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def _made(out: pathlib.Path) -> pathlib.Path:
    out.mkdir(parents=True, exist_ok=True)
    return out


if __name__ == "__main__":
    with command.line("drills"):
        parser = command.parser("drills", __doc__)
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/drills"))
        parser.add_argument("--kills", type=int, default=50)
        parser.add_argument("--boards", type=int, default=10_000)
        parser.add_argument("--flips", type=int, default=200, help="times config.json is spoilt")
        parser.add_argument("--seed", type=int, default=0)
        arguments = parser.parse_args()
        sys.exit(main(arguments.out, arguments.kills, arguments.boards, arguments.flips, arguments.seed))
