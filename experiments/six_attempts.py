"""Six ways to fail, again: the two posts' six trainings of two-head GIDD on Sudoku, with the controls they lack.

    python -m experiments.six_attempts --preset tiny --out runs/six_attempts

Claimed by the posts: (1) under an Itakura-Saito loss with targets 1 and 1e-6 the holding head learns nothing; (2) asked
on resampled cells alone it says 1 everywhere; (3) cross-entropy teaches both heads, and no board is solved; (4) a jump
head that trains on alone has plateaued; (5) a gate put on at inference brings chance; (6) a gate in training makes the
jump worse. Measured: all six and their variants as rows of one sweep, in the posts' architecture (post-norm, shared
trunk, blind to which cells are given), on held-out boards, without dropout, over t and by t bin beside oracle floors.

What decides stands in ``six_attempts_verdicts`` and was fixed before any run of several seeds: a claim is shown where
the 95 % intervals over seeds lie on its side of the thresholds, absent where one lies on the other, else undecided.
Settings of one seed share parameters, boards, t and noise, so that differences are paired. What a detector that is good
from the start makes of attempt 6, and a longer training, is asked by ``trained_detector``. Exits 1 unless the positive
control, masked diffusion, solves at least .9 of its boards: then no failure of the others means anything.
"""

import argparse
import dataclasses
import datetime
import functools
import json
import pathlib
import shlex
import sys
from typing import Any, NamedTuple

import jax
import pandas as pd

from experiments import command
from experiments import six_attempts_figures as figures
from experiments import six_attempts_report as report
from experiments import six_attempts_verdicts as verdicts
from gidd_jax import files, ledger, progress, sweep
from gidd_jax.analysis import final, intervals_by
from gidd_jax.commands import flags
from gidd_jax.errors import InputError
from gidd_jax.grid import row_ids
from gidd_jax.models import two_head
from gidd_jax.studies import sudoku
from gidd_jax.studies.sudoku_model import shape

COMMON = sudoku.POSTS | {"augment": False}
BLIND, SEES = {"sees_given": 0}, {"sees_given": 1}
"""The posts' model is blind to which cells are given; by a dial here, so that rows that see them are of its group."""
PRESETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tiny": (
        dict(
            data="4x4",
            d_model=32,
            layers=2,
            heads=2,
            batch=32,
            steps=500,
            eval_every=500,
            decode=(1, 2, 16),
            decode_boards=128,
        ),
        dict(learning_rate=3e-3),
    ),
    "small": (
        dict(
            data="6x6",
            source="kaggle",
            d_model=64,
            layers=3,
            heads=4,
            batch=32,
            steps=1500,
            decode=(1, 2, 36),
            decode_boards=128,
        ),
        dict(learning_rate=1e-3),
    ),
    "paper": (
        # 20 epochs of 500,000 boards; log_every divides an epoch's 7,813 steps.
        dict(
            init="torch",
            steps=156_260,
            log_every=601,
            eval_every=7_813,
            limit=500_000,
            decode=(1, 5, 81),
            eval_boards=1024,
            decode_boards=1000,
        ),
        dict(learning_rate=1e-3),
    ),
}
"""Settings and dials; ``paper`` is the posts' own size, start and volume. The small boards change width, depth, batch
and, at tiny, the learning rate of all rows: the positive control solves its boards in 500 steps at 3e-3, in 1,000 at
the posts' 1e-3. ``small`` keeps the posts' rate and takes the bundled boards that are made as Kaggle's are: on all of
them, some of which need search, the control stays at three boards of four (pilots of seed 900)."""


class Group(NamedTuple):
    """Attempts of one shape and number of passes: the rows that one program trains."""

    config: sudoku.Config
    dials: dict[str, dict[str, float]]


def groups(settings: dict[str, Any], common: dict[str, float], detector: int = 0) -> list[Group]:
    """The attempts and controls, by what they compile to. N, the step at which a phase ends, is ``steps``; that of a
    detector trained before is ``detector``, if given.
    """
    base = sudoku.Config(**COMMON | {"given": True} | settings)
    N, D = base.steps, detector or base.steps
    gated = dataclasses.replace(base, gated=True)
    towers = dataclasses.replace(gated, trunk="towers", steps=D + N, dial="")
    towers = dataclasses.replace(towers, d_model=matched_width(towers, count(base)))
    gate, second = {"gate": 1, "gate_hard": 1}, {"gate": 1, "gate_hard": 1, "jump_from": D, "holding_until": D}
    found = [
        Group(
            base,
            {
                "1": {"divergence_weight": 1, "holding_weight": 0},
                "2": {"divergence_resampled_weight": 1, "holding_weight": 0},
                "3": {},
                "3 givens": SEES,
                "GIDD's IS": {"interpolating_weight": 1, "holding_weight": 0},
                "holding only": {"jump_weight": 0},
                "shuffled labels": {"shuffled_label": 1},
            },
        ),
        Group(
            dataclasses.replace(base, steps=2 * N),
            {"3 longer": {}, "4a": {"holding_until": N, "trunk_until": N}, "4b": {"holding_until": N}},
        ),
        Group(
            gated,
            {
                "5": {"gate_hard": 1, "eval_gate": 1},
                "6": gate,
                "6 givens": gate | SEES,
                "6b": gate | {"gate_truth": 1},
                "6d": gate | {"gate_truth": 1, "truth_steps": N // 2},
            },
        ),
        Group(towers, {"6c": second, "pipeline": second | {"gate_truth": 1}}),
        Group(dataclasses.replace(base, decode_by="confidence"), {"jump only": {"holding_weight": 0}}),
        Group(
            dataclasses.replace(base, given=False, noise="masked", decode_by="confidence"),
            {"masked": {"holding_weight": 0}},
        ),
    ]
    return [Group(config, {name: BLIND | common | own for name, own in dials.items()}) for config, dials in found]


@functools.cache
def count(config: sudoku.Config) -> int:
    """Parameters of the model, without the flag of given cells."""
    config = dataclasses.replace(config, given=False)
    data, _ = sudoku.load(dataclasses.replace(config, limit=10, source=""))
    return two_head.count_parameters(jax.eval_shape(lambda: two_head.init(jax.random.key(0), shape(config, data))))


def matched_width(config: sudoku.Config, parameters: int) -> int:
    """The width whose model comes nearest to so many parameters."""
    widths = range(2 * config.heads, config.d_model + 1, 2 * config.heads)
    return min(widths, key=lambda d: abs(count(dataclasses.replace(config, d_model=d)) - parameters))


def hypers(group: Group, seeds: list[int]) -> Any:
    """The rows of a group: every attempt under every seed."""
    rows = [{"seed": seed} | own for own in group.dials.values() for seed in seeds]
    usual = sudoku.Hyper._field_defaults
    names = {name for row in rows for name in row}
    return sweep.rows(sudoku, **{name: [row.get(name, usual[name]) for row in rows] for name in names})


def named(table: pd.DataFrame, found: list[Group], seeds: list[int]) -> pd.DataFrame:
    """The sweep's table with a column ``attempt``, the excess of each loss over its floor, and no other row."""
    names = {}
    for g, group in enumerate(found):
        attempts = [name for name in group.dials for _ in seeds]
        names |= {(f"g{g}", row): name for row, name in zip(row_ids(hypers(group, seeds)), attempts, strict=True)}
    attempt = [names.get(key) for key in zip(table["group"], table["row"], strict=True)]
    return verdicts.with_excess(table.assign(attempt=attempt).dropna(subset="attempt"))


def run(found: list[Group], seeds: list[int], out: pathlib.Path, bar: Any) -> pd.DataFrame:
    """One sweep of all groups, resumed where it stands -> its table with a column ``attempt``."""
    result = sweep.run(sudoku, [(group.config, hypers(group, seeds)) for group in found], out, bar)
    return named(result.table, found, seeds)


def sizes(found: list[Group]) -> pd.DataFrame:
    """By attempt: parameters, passes of the model a board, and the parameters these passes apply (of attempt 3)."""
    whole = count(found[0].config)
    rows = []
    for config, dials in found:
        parameters, passes = count(config), 1 + config.gated
        # Of two towers each pass needs one.
        work = passes * parameters / (2 if config.trunk == "towers" else 1) / whole
        rows += [(name, config.d_model, parameters, passes, work) for name in dials]
    return pd.DataFrame(rows, columns=["attempt", "width", "parameters", "passes", "work"]).set_index("attempt")


def main(args: argparse.Namespace) -> int:
    """Trains, tells, draws -> exit status."""
    flags.prepare_jax()
    settings, common = PRESETS[args.preset]
    given = {"steps": args.steps, "data": args.data}
    settings = settings | {name: value for name, value in given.items() if value}
    if args.steps:
        settings = {name: value for name, value in settings.items() if name not in ("log_every", "eval_every")}
    if args.preset == "paper" and not args.data:
        raise InputError("--preset paper needs --data: a file of 500,000 boards, as Kaggle's sudoku.csv")
    found = groups(settings, common, args.detector)
    runs = run(found, args.seeds, args.out, progress.quiet if args.quiet else progress.bar)
    last, digits = final(runs), shape(found[0].config, sudoku.load(found[0].config)[0]).digits
    told = verdicts.verdicts(runs, digits)
    text = report.tell(runs, told, sizes(found), digits)
    print(text)
    _write(args, text, told, last, found)
    for path in figures.save_all(runs, args.out / "figures", published=digits == 9):
        print(path)
    return 0 if verdicts.control_works(last) else 1


def _write(args: argparse.Namespace, text: str, told: list, last: pd.DataFrame, found: list[Group]) -> None:
    """report.txt; results.json: verdicts, and of what; results.csv: every seed; by_t.csv: means and intervals."""
    about = {
        "command": shlex.join(["python", "-m", "experiments.six_attempts", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "versions": ledger.read(args.out)["versions"],
        "seeds": args.seeds,
        "steps": found[0].config.steps,
        "verdicts": [verdict._asdict() | {"claims": [c._asdict() for c in verdict.claims]} for verdict in told],
        "models": json.loads(sizes(found).to_json(orient="index")),
    }
    base = last["metric"].str.extract("([^@/]*)", expand=False)
    kept = last[base.isin([*verdicts.KEPT, *verdicts.WORTH]) & (~base.isin(verdicts.FLOORS) | (last["attempt"] == "3"))]
    scalars, binned = kept[kept["bin"] == -1], kept[kept["bin"] >= 0]
    columns = ["attempt", "seed", "presentations", "metric", "value"]
    scalars = scalars[columns].sort_values(["attempt", "metric", "seed"])
    tables = {"results.csv": scalars, "by_t.csv": intervals_by(binned, ["attempt", "metric", "bin"])}
    for name, table in tables.items():
        files.write(args.out / name, lambda p, table=table: table.to_csv(p, index=False, float_format="%.4g"))
    files.write_text(args.out / "results.json", json.dumps(about, indent=1) + "\n")
    files.write_text(args.out / "report.txt", text + "\n")


if __name__ == "__main__":
    with command.line("six_attempts"):
        parser = command.parser("six_attempts", __doc__)
        parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny")
        parser.add_argument("--data", help="boards in place of the preset's")
        parser.add_argument("--seeds", type=int, nargs="+", metavar="N", default=[0, 1, 2])
        parser.add_argument("--steps", type=int, default=0, help="steps of an attempt [the preset's]")
        parser.add_argument(
            "--detector", type=int, default=0, help="steps the detectors of 6c and pipeline train alone [as an attempt]"
        )
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/six_attempts"))
        parser.add_argument("--quiet", action="store_true")
        sys.exit(main(parser.parse_args()))
