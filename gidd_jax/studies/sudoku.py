"""The two-head GIDD study: a holding head and a jump head on Sudoku boards, coupled by a dial.

This module *is* the study: ``init``, ``step`` and ``evaluate`` are pure functions of one replica.
"""

import dataclasses
import hashlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from gidd_jax import corruption, export, losses, train
from gidd_jax.data.sudoku.board import Box
from gidd_jax.data.sudoku.symmetry import augment
from gidd_jax.errors import InputError
from gidd_jax.kernels import Shape
from gidd_jax.models import two_head
from gidd_jax.studies import sudoku_branches
from gidd_jax.studies.sudoku_evaluation import evaluate
from gidd_jax.studies.sudoku_model import Noised, couplings, measured, noised, predict, shape, trains, weights
from gidd_jax.studies.sudoku_settings import POSTS, Config, Hyper
from gidd_jax.types import Metrics, PRNGKey, Scalar, Tree

__all__ = ["Config", "Hyper", "batch", "check", "derive", "evaluate", "init", "load", "loss", "per_step", "step"]

name = "sudoku"
unit = "boards"
splits = ("validation", "test")
presets = {"posts": POSTS}
unfiltered = {"data_split": "train", "rating": (), "rating_tiers": (), "clues": (), "source": "", "limit": 0} | {
    "eval_tier": "",
    "init_from": "",
}
"""What chose the training boards, set back for boards of another file."""


def per_step(config: Config) -> int:
    """Boards one replica sees in a step."""
    return config.batch


def load(config: Config, whole: bool = False) -> tuple[Tree, str]:
    """Boards on the host -> question and answer uint8 [N,S], and (start, count) [split, tier]; and their fingerprint.

    Rows are ordered train, validation, test, and by tier within each; the fingerprint starts with the kind of split.
    With ``eval_tier`` the held-out boards of every tier are those of that one; with ``branch_boards`` there are boards
    of ``sudoku_branches`` besides.
    With ``whole`` all boards stand in every split, as one tier.
    """
    from gidd_jax.data.sudoku import by_rating, tiers
    from gidd_jax.data.sudoku import load as load_boards
    from gidd_jax.data.sudoku.split import split

    boards = load_boards(
        config.data,
        split=config.data_split,
        rating=config.rating or None,
        clues=config.clues or None,
        source=config.source or None,
        limit=config.limit or None,
        skip_bad=config.skip_bad,
    )
    if config.rating_tiers:
        boards = by_rating(boards, *config.rating_tiers)
    names = ("all",) if whole else tiers(boards)[0]
    *parts, kind = (boards, "whole") if whole else split(boards)
    question, answer, start, count, first = [], [], [], [], 0
    for part in parts:
        own, ordered, begins, counts = tiers(part)
        at = {tier: (first + b, c) for tier, b, c in zip(own, begins, counts, strict=True)}
        start.append([at.get(tier, (0, 0))[0] for tier in names])
        count.append([at.get(tier, (0, 0))[1] for tier in names])
        question.append(ordered.question)
        answer.append(ordered.answer)
        first += len(part)
    if config.eval_tier:
        if config.eval_tier not in names:
            raise InputError(f"--eval-tier {config.eval_tier}: not one of {', '.join(names)}")
        own = names.index(config.eval_tier)
        start, count = ([part[0], *([row[own]] * len(names) for row in part[1:])] for part in (start, count))
    if boards.skipped:
        print(f"gidd-jax: {config.data}: {boards.skipped} bad rows skipped, {len(boards)} kept", file=sys.stderr)
    data = {
        "question": np.concatenate(question),
        "answer": np.concatenate(answer),
        "start": np.asarray(start * 3 if whole else start, np.int32),
        "count": np.asarray(count * 3 if whole else count, np.int32),
    }
    if config.augment and kind == "class":
        # Present or absent, not true or false: a key of the pytree is static, so no unused symmetry is ever drawn.
        data["augment"] = np.zeros(0, np.uint8)
    if config.branch_boards:
        data["branch"] = sudoku_branches.prepare(data, config.branch_boards)
    digest = hashlib.sha256(repr(names).encode())
    for name in ("question", "answer", "start", "count"):
        digest.update(np.ascontiguousarray(data[name]))
    fingerprint = f"{kind}-{digest.hexdigest()}"
    if config.init_from:
        data["params"], digest = export.read_params(config.init_from)
        fingerprint += f"-{digest}"
    return data, fingerprint


def overlap(config: Config, other: str) -> str:
    """How much of another file the training boards give away, for people."""
    from gidd_jax.data.sudoku import load as load_boards
    from gidd_jax.data.sudoku.split import class_hash, grid_hash

    trained, _ = load(dataclasses.replace(config, init_from=""))
    boards = load_boards(other, skip_bad=config.skip_bad)
    symmetric = "augment" in trained
    solutions, seen = boards.answer, trained["answer"][: trained["count"][0, 0]]
    if solutions.shape[1] != seen.shape[1]:
        raise InputError(f"{other}: its boards have {solutions.shape[1]} cells, the model's {seen.shape[1]}")
    name = class_hash if symmetric else grid_hash
    shared = np.isin(name(solutions, boards.box), name(seen, boards.box)).sum()
    what = "solution up to symmetry" if symmetric else "solution"
    return f"{other}: {shared} of {len(boards)} boards share a {what} with the training boards"


def attention_shape(config: Config, data: Tree) -> Shape:
    """Of a training step, for the race of kernels."""
    model = shape(config, data)
    return Shape(model.towers * config.batch, config.heads, model.cells, config.d_model // config.heads)


def check(hypers: Hyper, config: Config, data: Tree) -> None:
    """Raises InputError, before anything compiles, for a dial that moves nothing or a tier without boards."""
    shape(config, data)
    for dial, without in (
        ("attention", config.trunk == "shared"),
        ("gate", not config.gated),
        ("eval_gate", not config.gated),
    ):
        ramped = dial == config.dial and np.any((hypers.ramp_steps > 0) & (hypers.ramp_from > 0))
        if without and (ramped or np.any(getattr(hypers, dial) > 0)):
            raise InputError(
                f"{dial} > 0 moves nothing here: it needs {'--trunk towers' if dial == 'attention' else '--gated'}"
            )
    if not config.given and np.ptp(hypers.sees_given) > 0:
        raise InputError("sees_given moves nothing here: it needs --given")
    if config.trunk == "towers" and np.any(hypers.trunk_until > 0):
        raise InputError("trunk_until > 0 moves nothing here: towers stop with their heads (--holding-until)")
    if np.any(late := hypers.ramp_steps + hypers.ramp_after > config.steps):
        longest = hypers.ramp_steps[late].max()
        raise InputError(f"ramp_steps {longest}: more than the {config.steps} steps there are, less ramp_after")
    if np.any((hypers.ramp_after > 0) & (hypers.ramp_steps == 0)):
        raise InputError("ramp_after > 0 moves nothing here: it needs --ramp-steps")
    tiers = data["count"].shape[1]
    for tier in np.unique([*hypers.tier, *hypers.first_tier]):
        if tier >= tiers or not data["count"][:, tier].all():
            raise InputError(f"tier {tier}: no boards of it in every split; the data has tiers 0 to {tiers - 1}")


def init(key: PRNGKey, hyper: Hyper, config: Config, data: Tree) -> train.TrainState:
    """Fresh parameters, or those of ``init_from``."""
    fresh = two_head.init(key, shape(config, data))
    return train.start(export.adopt(data["params"], fresh) if "params" in data else fresh, config)


def settled(hyper: Hyper) -> Hyper:
    """The row as it is once its ramps are done."""
    return hyper._replace(ramp_from=Hyper().ramp_from, ramp_steps=0, ramp_after=0)


def batch(key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array) -> Noised:
    """Boards of the row's tier at step i, each under a symmetry of its own, corrupted at t ~ U(0,1) clamped at 1/S."""
    board_key, turn_key, time_key, noise_key = jax.random.split(key, 4)
    tier = jnp.where(i < hyper.first_steps, hyper.first_tier, hyper.tier)
    start, count = data["start"][0, tier], data["count"][0, tier]
    index = start + jax.random.randint(board_key, (config.batch,), 0, count)
    question, answer = data["question"][index], data["answer"][index]
    if "augment" in data:
        question, answer = augment(turn_key, question, answer, Box.of(question.shape[1]))
    t = corruption.uniform_times(time_key, config.batch, config.low_discrepancy, 1 / question.shape[1])
    return noised(noise_key, config, question, answer, t)


def loss(
    params: Tree, shown: Noised, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, i: jax.Array
) -> tuple[Scalar, Metrics]:
    """Weighted jump and holding cross-entropy in nats, and the metrics of the last iteration by t bin."""
    heads = predict(
        params,
        config,
        data,
        shown,
        couplings(hyper, config, i),
        dropout_key=key if config.dropout else None,
        truth=shown.resampled if config.gated else None,
    )
    asked = shown._replace(label=jnp.where(hyper.shuffled_label > 0, jnp.roll(shown.label, 1, axis=0), shown.label))
    value, metrics = losses.two_head_loss(heads.jump, heads.holding, asked, weights(hyper, i))
    return value, {"loss": metrics["loss"]} | measured(heads, shown)


step = train.gradient_step(batch, loss, lambda params, hyper, config, i: trains(params, hyper, i))


def derive(table: pd.DataFrame, configs: list[Config]) -> pd.DataFrame:
    """The lines that need several rows at once: the benefit of coupling over the paired row without it."""
    from gidd_jax.analysis import benefit

    parts = [benefit(table[table["group"] == f"g{g}"], config.dial) for g, config in enumerate(configs)]
    return pd.concat(parts, ignore_index=True)
