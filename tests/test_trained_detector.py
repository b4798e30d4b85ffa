"""A detector trained before stands before a fresh jump as it was, and what is said of it follows from the table."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments import trained_detector as subject
from gidd_jax.models import two_head
from gidd_jax.studies import sudoku
from gidd_jax.studies.sudoku_model import shape

SEEDS = range(3)
SMALL = dict(d_model=8, layers=1, heads=2, batch=4)
DETECTORS = {"alone": (0.5, 0.45, 0.4), "beside a jump": (0.5, 0.5, 0.5)}
LOSSES = {"3": 0.8, "open": 0.85, "6": 1.05, "6b": 1.3, "6c": 1.0, "6c, detector of 3": 0.7, "pipeline": 1.3}


def of_seeds(attempt, metric, values, split="test", b=-1):
    shared = dict(attempt=attempt, row=attempt, group="g0", step=8, split=split, metric=metric, bin=b)
    return [shared | dict(seed=seed, value=value) for seed, value in zip(SEEDS, values, strict=True)]


def tables(changed=None):
    alone = [line for kind, found in DETECTORS.items() for line in of_seeds(kind, "separation", found)]
    lines = []
    for name, loss in (LOSSES | {"masked": 0.1} | (changed or {})).items():
        values = loss + 0.01 * np.arange(3)
        lines += of_seeds(name, "jump_loss", values) + of_seeds(name, "jump_loss", 0.5 * values, "train")
        for metric in set(subject.TOLD) - {"jump_loss"}:
            lines += of_seeds(name, metric, [0.5, 0.52, 0.51])
    return pd.DataFrame(alone), pd.DataFrame(lines)


def test_the_detector_is_the_same_in_front_of_a_jump():
    one = subject.base(8, **SMALL)
    towers = dataclasses.replace(one, gated=True, trunk="towers", dial="")
    data = sudoku.load(one)[0]
    detector = two_head.init(jax.random.key(7), shape(one, data))
    joined = subject.behind(detector, towers, 3)
    forward = jax.jit(two_head.apply, static_argnums=1)
    z = jax.random.randint(jax.random.key(1), (4, 16), 1, 5)
    shown = (z, z < 0, jnp.zeros(4))
    alone = forward(detector, shape(one, data), *shown, two_head.Couplings())
    heads = forward(joined, shape(towers, data), *shown, two_head.Couplings(gate=1.0, gate_hard=1.0))
    np.testing.assert_allclose(heads.holding, alone.holding, atol=1e-5)
    assert np.abs(heads.jump - alone.jump).max() > 0.1
    # The jump's tower is the seed's, whatever the detector is.
    fresh = two_head.init(jax.random.key(3), shape(towers, data))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[-1:], b[-1:]), joined["blocks_0"], fresh["blocks_0"])
    np.testing.assert_array_equal(joined["jump"]["kernel"], fresh["jump"]["kernel"])


def test_what_is_told_follows_from_the_table():
    text = subject.tell(*tables(), 4)
    assert text.count(": good;") == 2 and text.count("has learned") == len(subject.NAMES)
    assert "jump loss, 6c - 3: +0.200 [+0.200, +0.200]" in text and "jump loss, 6c - open: +0.150" in text
    assert "(6c): REFUTED" in text and "(6c, detector of 3): SUPPORTED" in text
    masked = next(line for line in text.splitlines() if line.strip().startswith("masked"))
    assert masked.split().count("-") == len(subject.HOLDING)


@pytest.mark.parametrize("low", [0.2, 0.34])
def test_one_seed_that_has_not_learned_makes_a_detector_no_good(low):
    alone, jumps = tables()
    alone.loc[(alone["attempt"] == "alone") & (alone["seed"] == 2), "value"] = low
    assert ("detector alone: NOT GOOD" in subject.tell(alone, jumps, 4)) == (low < 1 / 3)


def test_a_jump_at_chance_is_said_to_be_there():
    assert "jump of 6: HAS NOT LEARNED" in subject.tell(*tables({"6": 2 * np.log(4)}), 4)
