"""How often the tests of a transition are right: the whole procedure over and over, each time with seeds of its own.

    nice python -m experiments.transition_rates --out docs/transition_rates.csv

Simulates oscillators of known K_c, order and exponent, and curves without a transition; asks of every repetition what
docs/transitions.md asks of a user's sweep; writes how often the answer was right, with a 95 % binomial interval. With
100 repetitions half an hour of one core.
"""

import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from experiments import command
from gidd_jax import analysis, files, progress, sweep
from gidd_jax.commands import flags
from gidd_jax.kuramoto import critical_coupling
from gidd_jax.studies import kuramoto

NEAR = (0.8, 0.95, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 1.8)
FAR = (*NEAR[:-2], 1.4, 1.5, 1.7, 2.0)
BATCH = 25
"""Repetitions simulated in one sweep: what keeps their states in a gibibyte."""


class Case(NamedTuple):
    """One system, and how large, how often and how long a user would simulate it; couplings in units of K_c."""

    distribution: str
    order: str
    sizes: tuple[int, ...]
    seeds: int
    ratios: tuple[float, ...] = NEAR
    frequencies: str = "random"
    dt: float = 0.125
    steps: int = 1040
    burn_in: int = 640

    @property
    def truth(self) -> float:
        return float(critical_coupling(self.distribution))

    @property
    def K(self) -> np.ndarray:
        return np.round(self.truth * np.array(self.ratios), 4)


CASES = (
    Case("gaussian", "continuous", (400,), 12, frequencies="quantile"),
    Case("uniform", "discontinuous", (50, 150, 400), 12),
    Case("lorentzian", "continuous", (50, 200, 800), 24, FAR, dt=0.1, steps=1200, burn_in=700),
    Case("lorentzian", "continuous", (200, 800, 3200), 24, FAR, dt=0.1, steps=1200, burn_in=700),
    Case("gaussian", "continuous", (200, 800, 3200), 24),
)


class Answer(NamedTuple):
    """What one repetition said: was the question answered right, and by what estimate, where there is one."""

    question: str
    N: str
    right: bool
    estimate: float = np.nan


def simulated(
    case: Case, repetitions: int, bar: Callable = progress.quiet
) -> Iterator[tuple[np.ndarray, dict[int, np.ndarray]]]:
    """(K, {N: r [seeds, K]}) of one repetition after the other."""
    common = {name: getattr(case, name) for name in ("distribution", "frequencies", "dt", "steps", "burn_in")}
    common |= {"log_every": case.steps // 10, "eval_every": case.steps, "width": 16}
    configs = [kuramoto.Config(oscillators=N, **common) for N in case.sizes]
    for first in range(0, repetitions, BATCH):
        count = min(BATCH, repetitions - first)
        seeds = range(first * case.seeds, (first + count) * case.seeds)
        hypers = sweep.grid(kuramoto, seed=seeds, coupling=case.K.tolist())
        table = sweep.run(kuramoto, [(config, hypers) for config in configs], progress=bar).table
        named = analysis.systems(table, "coupling").values()
        found = {N: analysis.curve(rows, "coupling", "order_parameter") for N, rows in named}
        K = next(iter(found.values()))[0]
        pieces = {N: np.split(r, count) for N, (_, r) in found.items()}
        yield from ((K, {N: r[i] for N, r in pieces.items()}) for i in range(count))


def answers(case: Case, K: np.ndarray, curves: Mapping[int, np.ndarray]) -> Iterator[Answer]:
    """All that is asked of one repetition."""
    if case.order == "continuous":
        for N, r in curves.items():
            if N >= 400:
                law = analysis.power_law(K, r)
                yield from _of_law(law, case.truth, str(N))
    if len(curves) >= 3:
        found, sizes = analysis.verdict(K, curves), " ".join(map(str, curves))
        yield Answer("the rise sharpens at 5 %", sizes, found.order != "none", found.sharpening.exponent.mean)
        for order in ("continuous", "discontinuous"):
            yield Answer(f"called {order}", sizes, found.order == order)


def _of_law(law: analysis.PowerLaw | None, truth: float, N: str) -> Iterator[Answer]:
    critical, exponent = law[:2] if law else [analysis.Interval(*[np.nan] * 3, 0)] * 2
    yield Answer("K_c inside its 95 % interval", N, critical.low <= truth <= critical.high, critical.mean / truth)
    yield Answer("beta within .1 of 1/2", N, abs(exponent.mean - 0.5) <= 0.1, exponent.mean)
    yield Answer("1/2 inside beta's 95 % interval", N, exponent.low <= 0.5 <= exponent.high, exponent.mean)


SURROGATE_K = np.linspace(0.5, 1.5, 11)
SURROGATE_SIZES = (50, 100, 200, 400)
_RISE = 0.1 + 0.8 / (1 + np.exp((1 - SURROGATE_K) / 0.1))
SURROGATES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "smooth": lambda rng, N: _RISE + 0.03 * rng.normal(size=(16, 11)),
    "smooth, noise falls with N": lambda rng, N: _RISE + 0.3 / np.sqrt(N) * rng.normal(size=(16, 11)),
    "free phases": lambda rng, N: np.abs(rng.normal(size=(16, 11))) / np.sqrt(N),
}
"""r [16 seeds, K] at size N where there is no transition: (random numbers, N) -> r."""


def alarms(name: str, repetitions: int, seed: int = 7) -> list[Answer]:
    """Does the verdict see a transition in a surrogate? ``right`` means that it did: an alarm."""
    rng, sizes = np.random.default_rng(seed), " ".join(map(str, SURROGATE_SIZES))
    told = []
    for i in range(repetitions):
        curves = {N: SURROGATES[name](rng, N) for N in SURROGATE_SIZES}
        told.append(Answer("false alarm", sizes, analysis.verdict(SURROGATE_K, curves, seed=i).order != "none"))
    return told


def rates(told: list[Answer]) -> pd.DataFrame:
    """How often each question was answered so, of how many, with the 95 % interval of Clopper and Pearson (1934)."""
    lines = []
    for (question, N), rows in pd.DataFrame(told).groupby(["question", "N"], sort=False):
        count, of = int(rows["right"].sum()), len(rows)
        low, high = stats.binomtest(count, of).proportion_ci()
        estimate = rows["estimate"].mean(), rows["estimate"].std()
        lines.append((question, N, count, of, low, high, *estimate))
    return pd.DataFrame(lines, columns=["question", "N", "count", "repetitions", "low", "high", "mean", "spread"])


def measured(
    repetitions: int, cases: tuple[Case, ...] = CASES, bar: Callable = progress.quiet
) -> Iterator[pd.DataFrame]:
    """The rates of every surrogate and case, each with the settings they hold for, as they come."""
    versions = {"versions": " ".join(f"{name} {metadata.version(name)}" for name in ("gidd-jax", "jax"))}
    for name in SURROGATES:
        yield rates(alarms(name, repetitions)).assign(system=name, seeds=16, **versions)
    for case in cases:
        told = [answer for K, curves in simulated(case, repetitions, bar) for answer in answers(case, K, curves)]
        about = {name: getattr(case, name) for name in ("frequencies", "seeds", "dt", "steps", "burn_in")}
        yield rates(told).assign(system=case.distribution, K_to=max(case.ratios), **about, **versions)


WIDTHS = {"system": 26, "frequencies": 11, "N": 15, "seeds": 5, "question": 30}
WIDTHS |= {"count": 5, "repetitions": 11, "low": 6, "high": 6}


def main(out: pathlib.Path, repetitions: int, quiet: bool) -> int:
    """Measures; prints and writes what there is after every system."""
    flags.prepare_jax()
    tables = []
    for table in measured(repetitions, bar=progress.quiet if quiet else progress.bar):
        tables.append(table)
        files.write_text(out, pd.concat(tables, ignore_index=True).to_csv(index=False, float_format="%.4g"))
        shown = table.reindex(columns=list(WIDTHS)).astype({"frequencies": object}).fillna({"frequencies": "-"})
        told = shown.to_string(index=False, float_format="{:.3g}".format, col_space=WIDTHS, header=len(tables) == 1)
        print(told, flush=True)
    return 0


if __name__ == "__main__":
    with command.line("transition_rates"):
        parser = command.parser("transition_rates", __doc__)
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/transition_rates.csv"))
        parser.add_argument("--repetitions", type=int, default=100)
        parser.add_argument("--quiet", action="store_true")
        arguments = parser.parse_args()
        sys.exit(main(arguments.out, arguments.repetitions, arguments.quiet))
