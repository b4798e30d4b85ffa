"""Arms of the factorial: does the answer hang on the order of tiers, the volume, the rate, the size or the way K comes?

    python -m experiments.easy_vs_hard_arms curricula --preset tiny --out runs/curricula

  curricula       search alone, singles then search, search then singles, mixed, at equal presentations, tested on
                  search boards: the posts say that starting easy prevents coupling
  volume          take-off of both heads in boards seen, coupled or not, on fresh and on few boards over and over; an
                  uncoupled tower is the one-head control, as it shares no parameter with the other
  hysteresis      K ramped up and down, at two speeds, after training at its first value
  sizes           how steeply use of the cross path rises with K, by width: a transition sharpens with size
  learning_rate   the benefit with the best of three rates for each K, chosen on validation boards
  noise           uniform against masked noise, each model on its own tier, at equal numbers of model calls: boards
                  solved by one-head, two-head uniform models and a masked one, of one trunk and size, by k-pass and
                  samplers that revise. Compared by seed: resampling by the holding head less masked k-pass, and less
                  masked remask, at every number of calls, and whether the gap differs between tiers; boards
                  solved and cells right. Steps and rate are those of a pilot of seed 900, in which masked k-pass solved
                  12 to 20 % of its boards, a two-head uniform model none
  detectors       are wrong search branches told because heads are coupled, or because a coupled detector learns sooner?
                  AUROC on cells of a wrong branch along training, coupled and alone, trained on easy and on hard
                  boards, asked on the same hard boards, at the evaluation where the AUROC on random wrong cells gets to
                  .75, .85 and .9. Only sooner: coupled less alone, trained on hard boards, at .85 lies within +-.03 by
                  its 90 % interval; more than that: its 95 % interval lies above 0; else open. The posts' prediction,
                  that hard boards teach it: hard less easy, coupled, at .85 above 0. Written before any run of
                  it. With the preset ``longer``: at the rate of ``couplings`` no holding head alone left its plateau in
                  ``volume``, which was known
  detectors_settled
                  the first of these questions again, by its rule, because 2 of 6 heads alone had got to .85: 12
                  other seeds, trained on hard boards, for three times the steps (``--steps 24000``). Open too where
                  fewer than 9 of the 12 pairs get there. Written before any run of it
  twin            in ``detectors_settled`` all coupled holding heads ended at an AUROC of .95, those alone at .5 to .91.
                  Is it the jump's loss that lifts them, or a second tower to read from? K = 1 without the jump's loss,
                  whose tower then learns for the holding head alone, beside K = 1 with it and K = 0; seeds, steps and
                  boards of ``detectors_settled``. Holding loss at the end, test boards, by seed: the jump's loss
                  teaches where without it the loss is higher, 95 % interval above 0; a second tower is enough where
                  they are equivalent within +-.02 nats; else open. Written before any run without the jump's loss
  tiers_long      ``detectors_settled`` trained on hard boards alone. Is coupling worth as much to the holding head
                  after as many steps on easy ones? Its seeds, both tiers, each head on test boards of its own tier, t
                  in [.6, 1] as in ``easy_vs_hard``: more on hard boards where D = hard - easy of the benefit has a 95 %
                  interval above 0; the same where it lies within +-.02 nats (p < .05); else open. Written before any
                  run on easy boards of this length, when the benefit on hard boards was known

Given cells are seen, 3 seeds (``detectors``: 6, later 12). All of it is secondary to ``easy_vs_hard``: no threshold but
where one is given, intervals only. The verdict of ``sizes`` is that of ``analysis.verdict``; docs/transitions.md asks
for more seeds and wider sizes than these.
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from experiments import command
from experiments import easy_vs_hard_arms_tables as tables
from experiments import easy_vs_hard_detectors as heads
from experiments.easy_vs_hard import PRESETS, Preset, described
from experiments.easy_vs_hard_figures import against_calls, by_setting, by_skill, by_volume, by_width
from gidd_jax import files, progress, sweep
from gidd_jax.commands import flags
from gidd_jax.data.sudoku import label, load, tiers, write_csv
from gidd_jax.studies import sudoku

SEEDS = range(3)
OFTEN = 80
"""Steps between evaluations of the arm ``volume``: a take-off is told no closer."""
LATER = range(6, 18)
"""Seeds of ``detectors_settled``, ``twin`` and ``tiers_long``: not those of ``detectors``."""
BRANCHES = 256
"""Held-out boards of a wrong search branch that the arm ``detectors`` asks of."""
Run = Callable[..., sweep.SweepResult]
"""Groups of rows, and a name where an arm has several sweeps -> what was trained, or found there."""
MODELS = {
    "one-head uniform": (dict(decode_by="confidence"), dict(holding_weight=0.0), ("k-pass", "ancestral", "resample")),
    "two-head uniform": (dict(decode_by="holding"), {}, ("k-pass", "ancestral", "resample")),
    "masked": (
        dict(noise="masked", decode_by="confidence"),
        dict(holding_weight=0.0),
        ("k-pass", "ancestral", "remask"),
    ),
}
"""Settings, dials and samplers of the arm ``noise``."""


def main(arm: str, preset: Preset, out: pathlib.Path, quiet: bool) -> int:
    """Trains and tells one arm -> exit status."""
    flags.prepare_jax()
    bar = progress.quiet if quiet else progress.bar
    text, table = ARMS[arm](preset, lambda groups, name="": sweep.run(sudoku, groups, out / arm / name, bar), out)
    files.write_text(out / f"{arm}.txt", text + "\n")
    files.write(out / f"{arm}.csv", lambda p: table.to_csv(p, index=False, float_format="%.4g"))
    print(text)
    return 0


def config(preset: Preset, **settings: Any) -> sudoku.Config:
    """The preset's settings, some replaced; boards of wrong branches are the factorial's alone."""
    kept = {name: value for name, value in preset.settings.items() if name not in ("branch_boards", "checkpoint_every")}
    common = dict(data=preset.data, decode=(1,), decode_boards=16, eval_every=kept["steps"])
    return sudoku.Config(**common | kept | settings)


def grid(preset: Preset, **columns: Any) -> Any:
    return sweep.grid(sudoku, **dict(seed=SEEDS, attention=[0.0, 1.0], learning_rate=preset.learning_rate) | columns)


def places(preset: Preset) -> tuple[int, int]:
    """The tier dial of the easy and of the hard boards."""
    names = tiers(load(preset.data))[0]
    return names.index(preset.tiers[0]), names.index(preset.tiers[1])


def curricula(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """Both tiers as one file, so that all of it is their mixture."""
    both, path = load(preset.data, source=preset.tiers), out / "boards.csv"
    if not path.exists():
        write_csv(path, both, label(both.question, both.box))
    names, half = tiers(both)[0], preset.settings["steps"] // 2
    easy, hard = (names.index(name) for name in preset.tiers)
    orders = {
        "hard alone": dict(tier=hard),
        "easy, then hard": dict(tier=hard, first_tier=easy, first_steps=half),
        "hard, then easy": dict(tier=easy, first_tier=hard, first_steps=half),
        "mixed": dict(tier=names.index("all")),
    }
    parts = [grid(preset, **order) for order in orders.values()]
    rows = sweep.rows(sudoku, **{name: np.concatenate([getattr(p, name) for p in parts]) for name in parts[0]._fields})
    table = run([(config(preset, data=str(path), eval_tier=preset.tiers[1]), rows)]).table
    return tables.curricula(table, {(o["tier"], o.get("first_tier", 0)): name for name, o in orders.items()})


def volume(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """One tier, a constant rate, evaluations close together; few boards: 160 of them trained on over and over."""
    often = dict(source=preset.tiers[1], eval_every=OFTEN, eval_boards=128, schedule="constant")
    configs = [config(preset, **often, limit=limit) for limit in (0, 200)]
    table, names = run([(each, grid(preset)) for each in configs]).table, {"g0": "all boards", "g1": "160 boards"}
    chance = float(np.log(preset.boards().box.size))
    before = {"jump_loss": chance, "separation": 0.0}
    curves = {name: {m: tables.along(table, g, m) for m in before} for g, name in names.items()}
    drawn = by_volume(curves, before, described(preset, preset.boards()))
    files.write(out / "volume.png", lambda path: drawn.savefig(path, dpi=150, format="png"))
    return tables.volume(table, names, chance)


def hysteresis(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """Half the steps at the first value, then the ramp, slow (as many steps) or four times as fast."""
    # Evaluations fall on the same K on the way up and down.
    steps = preset.settings["steps"] // 160 * 80
    ways = [
        dict(ramp_from=1.0 - K, attention=K, ramp_steps=steps // s, ramp_after=steps) for s in (1, 4) for K in (1, 0)
    ]
    parts = [grid(preset, tier=places(preset)[1], **way) for way in ways]
    rows = sweep.rows(sudoku, **{name: np.concatenate([getattr(p, name) for p in parts]) for name in parts[0]._fields})
    fine = config(preset, steps=2 * steps, eval_every=steps // 8, eval_boards=128, schedule="constant")
    return tables.hysteresis(run([(fine, rows)]).table)


def sizes(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """Three widths of the preset's boards and of smaller ones; all tiers."""
    widest, boards = preset.settings.get("d_model", 128), dict.fromkeys(("4x4", preset.data))
    shapes = [(board, widest // part) for board in boards for part in (4, 2, 1)]
    configs = [config(preset, data=board, d_model=width) for board, width in shapes]
    couplings = grid(preset, attention=[0.1, 0.25, 0.5, 0.75, 1.0])
    table = run([(each, couplings) for each in configs]).table
    text, found = tables.sizes(table, {f"g{g}": shape for g, shape in enumerate(shapes)})
    files.write(out / "sizes.png", lambda path: by_width(found).savefig(path, dpi=150, format="png"))
    return text, found


def learning_rate(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """A third of the preset's rate, the rate, three times the rate, on both tiers."""
    rates = [preset.learning_rate * factor for factor in (1 / 3, 1, 3)]
    easy, hard = places(preset)
    rows = grid(preset, tier=[easy, hard], learning_rate=rates)
    return tables.learning_rate(run([(config(preset), rows)]).table, {easy: "easy", hard: "hard"})


def noise(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """Twice the preset's steps at three times its rate; new digits are the likeliest, ancestral alone draws them."""
    easy, hard = places(preset)
    boards = preset.boards()
    unknown = boards.box.cells - int(boards.clues[np.isin(boards.source, preset.tiers)].min())
    steps, parts = 2 * preset.settings["steps"], []
    for model, (settings, dials, samplers) in MODELS.items():
        rows = grid(preset, attention=0.0, tier=[easy, hard], learning_rate=3 * preset.learning_rate, **dials)
        shared = config(preset, trunk="shared", steps=steps, eval_every=steps, **settings)
        trained = run([(shared, rows)], model.replace(" ", "_"))
        for calls in (unknown, 4 * unknown):
            how = dict(samplers=samplers, sampler_steps=calls, sampler_cells=-(-unknown // calls))
            how |= dict(sampler_temperature=0.0, decode_boards=64, eval_boards=64)
            measured = sweep.evaluate(sudoku, trained.directory, "test", **how)
            parts.append(measured.assign(model=model, steps=calls))
    solved = tables.solved(pd.concat(parts, ignore_index=True), {easy: "easy", hard: "hard"})
    figure = against_calls(tables.by_calls(solved), described(preset, boards))
    files.write(out / "noise.png", lambda path: figure.savefig(path, dpi=150, format="png"))
    return tables.noise(solved)


def detectors(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """Six seeds on both tiers."""
    return _detectors(preset, run, out / "detectors.png", range(6), tables.TIERS)


def detectors_settled(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """Twelve other seeds on hard boards."""
    return _detectors(preset, run, out / "detectors_settled.png", LATER, tables.TIERS[1:], least=9)


def twin(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """The rows of ``detectors_settled``, and coupled ones without the jump's loss."""
    hard = places(preset)[1]
    parts = [grid(preset, seed=LATER, tier=hard, attention=K, jump_weight=w) for K, w in heads.TWINS.values()]
    rows = sweep.rows(sudoku, **{name: np.concatenate([getattr(p, name) for p in parts]) for name in parts[0]._fields})
    table = run([(_asked(preset), rows)]).table
    floor = float(table.loc[(table["metric"] == "holding_floor") & (table["bin"] == -1), "value"].iloc[-1])
    levels = {"holding_loss": ("oracle", floor), "auroc_random": ("chance", 0.5), "auroc_branch": ("chance", 0.5)}
    drawn = by_setting(heads.by_twin(table, levels), levels, described(preset, preset.boards()))
    files.write(out / "twin.png", lambda path: drawn.savefig(path, dpi=150, format="png"))
    files.write(out / "twin_by_seed.csv", lambda path: heads.ends(table).to_csv(path, float_format="%.4g"))
    return heads.twin(table)


def tiers_long(preset: Preset, run: Run, out: pathlib.Path) -> tuple[str, pd.DataFrame]:
    """The rows of ``detectors_settled`` and as many on easy boards, measured on both tiers when they have ended."""
    known = dict(zip(places(preset), tables.TIERS, strict=True))
    trained = run([(_asked(preset), grid(preset, seed=LATER, tier=list(known)))])
    parts = []
    for name, test in zip(preset.tiers, tables.TIERS, strict=True):
        measured = sweep.evaluate(sudoku, trained.directory, "test", eval_tier=name, eval_boards=512, branch_boards=0)
        parts.append(measured.assign(test=test, tier=measured["tier"].map(known)))
    return heads.by_tier(pd.concat(parts, ignore_index=True))


def _detectors(
    preset: Preset, run: Run, figure: pathlib.Path, seeds: range, trained: tuple[str, ...], least: int = 2
) -> tuple[str, pd.DataFrame]:
    """Trains seeds on tiers, asks all on hard boards."""
    known = {place: tier for place, tier in zip(places(preset), tables.TIERS, strict=True) if tier in trained}
    table = run([(_asked(preset), grid(preset, seed=seeds, tier=list(known)))]).table
    curves = heads.by_evaluation(table, known)
    drawn = by_skill(curves, heads.AT, described(preset, preset.boards()))
    files.write(figure, lambda path: drawn.savefig(path, dpi=150, format="png"))
    return heads.detectors(curves, least)


def _asked(preset: Preset) -> sudoku.Config:
    """A constant rate, 40 evaluations or one in 200 steps, all of them on hard boards."""
    often = dict(eval_every=max(1, min(200, preset.settings["steps"] // 40)), eval_boards=64, decode=(81,))
    return config(preset, eval_tier=preset.tiers[1], branch_boards=BRANCHES, schedule="constant", **often)


ARMS = {
    arm.__name__: arm
    for arm in (
        curricula,
        volume,
        hysteresis,
        sizes,
        learning_rate,
        noise,
        detectors,
        detectors_settled,
        twin,
        tiers_long,
    )
}


if __name__ == "__main__":
    with command.line("easy_vs_hard_arms"):
        parser = command.parser("easy_vs_hard_arms", __doc__)
        parser.add_argument("arm", choices=tuple(ARMS))
        parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny")
        parser.add_argument("--steps", type=int, default=0, help="training steps [the preset's]")
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/easy_vs_hard_arms"))
        parser.add_argument("--quiet", action="store_true")
        given = parser.parse_args()
        chosen = PRESETS[given.preset]
        settings = chosen.settings | ({"steps": given.steps} if given.steps else {})
        sys.exit(main(given.arm, chosen._replace(settings=settings), given.out, given.quiet))
