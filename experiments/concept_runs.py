"""What the concept experiments share: settings x seeds as rows of one call, and the flags of their command lines."""

import argparse
import pathlib
from collections.abc import Iterable, Mapping

from experiments import command
from gidd_jax import sweep
from gidd_jax.studies import concepts


def rows(settings: Mapping[str, Mapping[str, float]], seeds: int, **base: float) -> tuple[concepts.Hyper, list[str]]:
    """Every setting, name -> dials on top of ``base``, x seed as a row, and the name of each row's setting."""
    usual = concepts.Hyper()._asdict() | base
    moved = sorted({dial for dials in settings.values() for dial in dials} | base.keys())
    columns = {name: [s.get(name, usual[name]) for s in settings.values() for _ in range(seeds)] for name in moved}
    columns["seed"] = [seed for _ in settings for seed in range(seeds)]
    return sweep.rows(concepts, **columns), [name for name in settings for _ in range(seeds)]


def parser(about: str | None, name: str, presets: Iterable[str]) -> argparse.ArgumentParser:
    """Where to, which size, how many seeds and steps."""
    made = command.parser(name, about)
    made.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs") / name)
    made.add_argument("--preset", choices=tuple(presets), default="tiny")
    made.add_argument("--seeds", type=command.count, default=4, help="how many [%(default)s]")
    made.add_argument("--steps", type=int, default=0, help="training steps [the preset's]")
    made.add_argument("--quiet", action="store_true")
    return made
