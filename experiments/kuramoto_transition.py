"""The known transition, found from simulations alone: where it is, of which order, and that a flat density jumps.

    python -m experiments.kuramoto_transition --out runs/kuramoto

Sweeps gaussian, lorentzian and uniform frequencies at four sizes each, asks each table for the verdict, ramps the
gaussian and the uniform system up and down, and writes tables, figures and verdicts.txt. Exits 1 unless the verdicts
are continuous, continuous and discontinuous, with K_c of the first two inside its interval.
"""

import pathlib
import sys

import numpy as np

from experiments import command
from gidd_jax import plotting_transitions, progress, sweep
from gidd_jax.analysis import describe, format_transition, found_transition, loop_area, ramp, systems
from gidd_jax.commands import flags
from gidd_jax.kuramoto import critical_coupling
from gidd_jax.studies import kuramoto

SIZES, SEEDS = (50, 150, 450, 1350), 64
# In units of a guess of K_c; the pipeline is not told the truth.
COUPLINGS = np.array([0.7, 0.8, 0.9, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8])
EXPECTED = {"gaussian": "continuous", "lorentzian": "continuous", "uniform": "discontinuous"}
COMMON = {"dt": 0.1, "width": 16, "steps": 1500, "log_every": 250, "eval_every": 1500}
RAMP = {"oscillators": 500, "ramp_levels": 25, "steps": 10_000, "log_every": 500, "eval_every": 10_000}


def main(out: pathlib.Path, quiet: bool) -> int:
    """Simulates, asks, draws -> exit status."""
    flags.prepare_jax()
    bar, told, right = progress.quiet if quiet else progress.bar, [], []
    for distribution, expected in EXPECTED.items():
        truth = float(critical_coupling(distribution))
        hypers = sweep.grid(kuramoto, seed=range(SEEDS), coupling=np.round(truth * COUPLINGS, 4).tolist())
        configs = [kuramoto.Config(oscillators=N, distribution=distribution, **COMMON) for N in SIZES]
        table = sweep.run(kuramoto, [(config, hypers) for config in configs], out / distribution, bar).table
        plotting_transitions.save_all(table, "coupling", out / distribution / "figures")
        found = found_transition(table, "coupling")
        right.append(found.order == expected)
        if expected == "continuous":
            right.append(found.law is not None and found.law.critical.low <= truth <= found.law.critical.high)
        told.append(f"{distribution}: K_c = {truth:.4g} in theory, {expected} in theory\n{describe(found)}\n")
        (out / distribution / "table.txt").write_text(format_transition(table, "coupling") + "\n")
    for distribution in ("gaussian", "uniform"):
        told.append(_ramped(distribution, out, bar))
    (out / "verdicts.txt").write_text("\n".join(told) + "\n")
    print("\n".join(told), f"figures and verdicts in {out}", sep="\n")
    return 0 if all(right) else 1


def _ramped(distribution: str, out: pathlib.Path, bar) -> str:
    truth = float(critical_coupling(distribution))
    config = kuramoto.Config(distribution=distribution, frequencies="quantile", **COMMON | RAMP)
    hypers = sweep.grid(kuramoto, seed=range(16), coupling=1.4 * truth, ramp_from=0.6 * truth)
    table = sweep.run(kuramoto, [(config, hypers)], out / f"ramp-{distribution}", bar).table
    plotting_transitions.save_all(table, "coupling", out / f"ramp-{distribution}" / "figures")
    ((_, rows),) = systems(table, "coupling").values()
    area = loop_area(*ramp(rows))
    return f"{distribution}, ramped: loop area {area.mean:.4f} [{area.low:.4f}, {area.high:.4f}]"


if __name__ == "__main__":
    with command.line("kuramoto_transition"):
        parser = command.parser("kuramoto_transition", __doc__)
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/kuramoto"))
        parser.add_argument("--quiet", action="store_true")
        arguments = parser.parse_args()
        sys.exit(main(arguments.out, arguments.quiet))
