"""Does coupling two heads become load-bearing on boards that need search? The factorial, with its controls.

    python -m experiments.easy_vs_hard --preset tiny --out runs/easy_vs_hard
    python -m experiments.easy_vs_hard --preset short --data boards.csv --rating 0 50 --clues 24 24 --out runs/rated

{given cells seen, blind} x {easy boards, hard boards} x couplings x seeds. Easy boards are solvable by singles, hard
ones need search; both tiers have one number of clues and come from one generator, so that neither the number of cells
nor the generator stands for difficulty. Settings of one seed share parameters, t and noise. Two towers, coupled by
replica attention; K = 0 is two models. Every model is measured on both tiers.

With ``--data FILE --rating LOW HIGH`` easy boards are those of the file that are rated LOW or less, hard ones those
rated above HIGH (columns question, answer, rating). Then clues and origin may differ between tiers: ``--clues`` evens
out the first, and the text says how many clues each has.

Written down before any run:
  benefit      B(K) = loss(K = 0) - loss(K), nats a cell, each head, over t in [.6, 1], held-out boards of the tier
  claim        D(K) = B(hard) - B(easy) > 0 at K = 1, given cells seen, for the jump head (the primary contrast)
  supported    its 95 % t interval over seeds lies above 0;  refuted: equivalence within +-.02 nats at 5 %;  else open
  predicted 0  blind: a model that does not see which cells are given cannot tell hard boards from easy ones
  void         where the jump head of either tier stands within .1 nats of chance, log n: what has not learned to use
               its own input cannot show a use of the other head, and a D of 0 says nothing
  power        the least D that these seeds would find with 80 % probability stands beside every null
  one tier     D again with both models tested on the same boards: else another test set mixes with another model
  detection    the posts' prediction: a holding head trained on hard boards tells the cells of a wrong branch, where
               no unit is violated, better than one trained on easy ones, on the same boards: AUROC above it by seed
Everything else is secondary, with Holm's correction over couplings, heads and tiers; AUROC by t bin decides nothing.
BCE + CE is the exact chain rule of one likelihood, so Bayes-optimal heads need nothing of each other: a positive D says
that a finite resource pays.
"""

import argparse
import pathlib
import sys
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments import command
from experiments import easy_vs_hard_contrasts as contrasts
from experiments.easy_vs_hard_figures import drawn
from experiments.easy_vs_hard_report import tell
from gidd_jax import files, progress, sweep
from gidd_jax.commands import flags
from gidd_jax.data.sudoku import Boards, by_rating, load, rating_tiers, tiers
from gidd_jax.errors import InputError
from gidd_jax.studies import sudoku


class Preset(NamedTuple):
    """Boards, the two tiers to compare (easy, hard), settings, and what the grid is made of."""

    data: str
    tiers: tuple[str, str]
    settings: dict[str, Any]
    couplings: tuple[float, ...]
    seeds: int
    learning_rate: float
    given: tuple[bool, ...] = (True, False)
    first_seed: int = 0

    def rated(self, data: str, rating: tuple[int, int], clues: tuple[int, ...] = ()) -> "Preset":
        """The same on boards of a file, its tiers made of their ratings."""
        settings = self.settings | {"rating_tiers": tuple(rating), "clues": tuple(clues)}
        return self._replace(data=data, tiers=rating_tiers(*rating), settings=settings)

    def boards(self) -> Boards:
        """All boards by tier, as the study loads them."""
        found = load(self.data, clues=self.settings.get("clues") or None)
        span = self.settings.get("rating_tiers")
        return by_rating(found, *span) if span else found


COUPLINGS = (0, 0.1, 0.2, 0.35, 0.5, 0.75, 1)
SHORT = dict(d_model=32, layers=2, schedule="cosine", warmup=50)
SIX, NINE = ("6x6", ("singles10", "search10")), ("9x9", ("singles24", "search24"))
PRESETS = {
    "tiny": Preset(
        *SIX,
        dict(steps=1200, checkpoint_every=400, **SHORT, heads=2, batch=16, eval_boards=512, branch_boards=256),
        (0.0, 0.5, 1.0),
        6,
        3e-3,
    ),
    "couplings": Preset(
        *SIX,
        dict(steps=1200, checkpoint_every=400, **SHORT, heads=2, batch=16, eval_boards=512, branch_boards=256),
        COUPLINGS,
        8,
        9e-3,
    ),
    "settled": Preset(
        *SIX,
        dict(steps=1200, checkpoint_every=400, **SHORT, heads=2, batch=16, eval_boards=512, branch_boards=256),
        (0.0, 1.0),
        64,
        9e-3,
        (True,),
        first_seed=8,
    ),
    "longer": Preset(
        *SIX,
        dict(steps=4800, checkpoint_every=400, **SHORT, heads=2, batch=16, eval_boards=512, branch_boards=256),
        (0.0, 1.0),
        3,
        3e-3,
        (True,),
    ),
    "short": Preset(
        *NINE,
        dict(
            SHORT,
            positions="rope",
            steps=1600,
            checkpoint_every=400,
            heads=2,
            batch=8,
            eval_boards=512,
            branch_boards=256,
        ),
        (0.0, 1.0),
        3,
        9e-3,
        (True,),
    ),
    "small": Preset(*NINE, dict(steps=5000, **SHORT, batch=32, eval_boards=512, branch_boards=512), COUPLINGS, 8, 3e-3),
    "paper": Preset(*NINE, dict(steps=31_250, batch=64, eval_boards=2048, branch_boards=2048), COUPLINGS, 16, 1e-3),
}
"""At `paper` 31,250 steps of 64 are 2M boards a row. The size of `tiny` is one at which pilots of seed 900 left chance
by far: jump loss at high t 1.1 with given cells seen and 1.5 blind, of 1.79. `couplings` is `tiny` with every coupling
and eight seeds, at the rate that the arm ``learning_rate`` found best for every tier and K. `settled` was added when
`couplings` had left the primary contrast open (D = +.011 [-.042, +.065]): that contrast alone, by the same thresholds,
on 64 seeds that no run has seen, 8 to 71; with a spread over seeds of .064 nats they find a D of .023 with probability
.8 and call it nothing where it stays below .007. `longer` was added when the
results of `tiny` were known: there the holding head alone had not left its plateau. `short` is 9x9 in a quarter of an
hour of a core: 12,800 boards a row, which leave chance only with rotary positions (pilots of seed 900, K = 0: jump loss
at high t 1.1 to 1.6 of 2.20, with learned ones 2.20 at both rates)."""


def main(out: pathlib.Path, preset: Preset, seeds: int, quiet: bool) -> int:
    """Trains, asks, draws -> exit status."""
    flags.prepare_jax()
    boards = preset.boards()
    chosen = range(preset.first_seed, preset.first_seed + (seeds or preset.seeds))
    table = crossed(preset, boards, chosen, out, progress.quiet if quiet else progress.bar)
    found, ordered, levels = contrasts.contrasts(table), contrasts.orders(table), contrasts.by_t(table)
    about = described(preset, boards)
    told = tell(table, found, ordered, levels, float(np.log(boards.box.size)), about)
    files.write_text(out / "easy_vs_hard.txt", told + "\n")
    for stem, each in (("easy_vs_hard", found), ("orders", ordered), ("by_t", levels)):
        files.write(out / f"{stem}.csv", lambda p, each=each: each.to_csv(p, index=False, float_format="%.4g"))
    figure = drawn(table, found, ordered, levels, about)
    files.write(out / "easy_vs_hard.png", lambda path: figure.savefig(path, dpi=150, format="png"))
    print(told, f"tables and figure in {out}", sep="\n\n")
    return 0


def described(preset: Preset, boards: Boards) -> str:
    """What the tiers are, and how many clues they have: not the same where a file has it otherwise."""
    told = []
    for word, name in zip(contrasts.TIERS, preset.tiers, strict=True):
        clues = boards.clues[boards.source == name]
        told.append(f"{word}: {len(clues)} boards {name}, {clues.mean():.4g} clues")
    return f"{pathlib.PurePath(preset.data).stem} boards, {', '.join(told)}"


def crossed(preset: Preset, boards: Boards, seeds: range, out: pathlib.Path, bar: Any) -> pd.DataFrame:
    """The sweep, resumed where it stands, and its rows measured on both tiers -> table with columns tier and test."""
    names = tiers(boards)[0]
    known = dict(zip(preset.tiers, contrasts.TIERS, strict=True))
    places = {names.index(name): known[name] for name in preset.tiers}
    hypers = sweep.grid(
        sudoku,
        seed=seeds,
        tier=list(places),
        attention=list(preset.couplings),
        learning_rate=preset.learning_rate,
    )
    measured = {name: preset.settings[name] for name in ("eval_boards", "branch_boards")}
    trained = {name: value for name, value in preset.settings.items() if name not in measured}
    common = dict(data=preset.data, decode=(1,), decode_boards=64, eval_every=trained["steps"])
    configs = [sudoku.Config(**common | trained, given=given) for given in preset.given]
    sweep.run(sudoku, [(config, hypers) for config in configs], out, bar)
    parts = [
        sweep.evaluate(sudoku, out, "test", eval_tier=name, **measured).assign(test=test)
        for name, test in known.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(tier=table["tier"].map(places))[table["seed"].isin(list(seeds))]


def asked(given: argparse.Namespace) -> Preset:
    """The preset, on the boards of ``--data`` where they are given."""
    preset = PRESETS[given.preset]
    if given.data and given.rating:
        return preset.rated(given.data, given.rating, given.clues)
    if given.data or given.rating or given.clues:
        raise InputError("--data FILE and --rating LOW HIGH make tiers together; --clues LOW HIGH is for them alone")
    return preset


if __name__ == "__main__":
    with command.line("easy_vs_hard"):
        parser = command.parser("easy_vs_hard", __doc__)
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/easy_vs_hard"))
        parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny")
        parser.add_argument("--data", metavar="FILE", help="rated boards in place of the preset's (needs --rating)")
        span = dict(type=int, nargs=2, metavar=("LOW", "HIGH"), default=())
        parser.add_argument("--rating", **span, help="easy: rated LOW or less; hard: rated above HIGH")
        parser.add_argument("--clues", **span, help="keep boards of LOW to HIGH clues")
        parser.add_argument("--seeds", type=int, default=0, help="how many; 0: as the preset has")
        parser.add_argument("--quiet", action="store_true")
        given = parser.parse_args()
        sys.exit(main(given.out, asked(given), given.seeds, given.quiet))
