"""The samplers that boards are completed with, by name: NAME, or NAME+oracle_holding, NAME+oracle_jump, or both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from gidd_jax import sampling, schedules
from gidd_jax.errors import InputError
from gidd_jax.types import PRNGKey


class Task(NamedTuple):
    """What every sampler is given. ``steps``: model calls; ``cells``: how many cells each may rewrite (traced).

    ``select``: "holding", or "confidence" where the jump alone decides; ``wrong``: what the holding head learnt.
    """

    predict: sampling.Predict
    question: jax.Array
    schedule: schedules.Schedule
    digits: int
    mask_id: int | None
    select: Any
    wrong: bool
    steps: int
    cells: int | jax.Array
    temperature: float
    spread: float
    history: int = 0


def _k_pass(task: Task, key: PRNGKey) -> sampling.Walk:
    t = task
    return sampling.k_pass(t.predict, t.question, key, t.cells, t.digits, t.select, t.mask_id, history=t.history)


def _ancestral(task: Task, key: PRNGKey) -> sampling.Walk:
    times = sampling.time_grid(task.schedule, task.steps)
    by_holding = task.select == "holding"
    return sampling.two_head_ancestral(
        task.predict, task.question, key, task.schedule, times, wrong=task.wrong, by_holding=by_holding
    )


def _resample(task: Task, key: PRNGKey) -> sampling.Walk:
    t, how = task, {"k": task.cells, "temperature": task.temperature, "spread": task.spread, "history": task.history}
    return sampling.resample(t.predict, t.question, key, t.steps, t.digits, select=t.select, **how)


def _remask(task: Task, key: PRNGKey) -> sampling.Walk:
    t, how = task, {"k": task.cells, "temperature": task.temperature, "spread": task.spread, "history": task.history}
    return sampling.remask(t.predict, t.question, key, t.steps, t.digits, t.mask_id, **how)


SAMPLERS: dict[str, Callable[[Task, PRNGKey], sampling.Walk]] = {
    "k-pass": _k_pass,
    "ancestral": _ancestral,
    "resample": _resample,
    "remask": _remask,
}
NOISE = {"resample": "uniform", "remask": "masked"}
"""The noise a sampler needs: a model of masked noise has learnt nothing of cells that show a digit, one of uniform
noise has no mask."""


class Swaps(NamedTuple):
    """Whose place the truth takes (traced)."""

    oracle_holding: bool | jax.Array = False
    oracle_jump: bool | jax.Array = False


def parse(name: str) -> tuple[str, Swaps]:
    """ "resample+oracle_jump" -> the sampler and whose place the truth takes; InputError for any other form."""
    sampler, *swaps = name.split("+")
    if sampler not in SAMPLERS or not set(swaps) <= set(Swaps._fields) or len(set(swaps)) < len(swaps):
        raise InputError(
            f"sampler {name}: not one of {', '.join(SAMPLERS)}, nor one with +oracle_holding, +oracle_jump"
        )
    return sampler, Swaps(**dict.fromkeys(swaps, True))


def check(name: str, noise: str, select: str) -> None:
    """Raises InputError for a name that is no sampler, or one that makes no sense under this noise or choice."""
    sampler, swaps = parse(name)
    if NOISE.get(sampler, noise) != noise:
        raise InputError(f"sampler {name}: needs --noise {NOISE[sampler]}, not {noise}")
    if swaps.oracle_holding and (noise, select) != ("uniform", "holding"):
        raise InputError(f"sampler {name}: the holding head decides nothing under {noise} noise, by {select}")


def run(sampler: str, task: Task, key: PRNGKey, swaps: Swaps, answer: jax.Array | None) -> sampling.Walk:
    """Boards completed by the sampler of that name; without ``answer`` there are no oracles. Consumes ``key``."""
    if answer is not None:
        predict = sampling.oracle_holding(task.predict, answer, swaps.oracle_holding)
        task = task._replace(predict=sampling.oracle_jump(predict, answer, swaps.oracle_jump))
    return SAMPLERS[sampler](task, key)
