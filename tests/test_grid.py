"""Grids and configs: products, identities, and one clear line for whatever does not fit."""

import json

import numpy as np
import pytest

from gidd_jax import config, grid
from gidd_jax.errors import InputError
from tests.probes import Config, Regression

STUDY = Regression()


def test_the_grid_is_the_product_last_column_fastest():
    hypers = grid.grid(STUDY, seed=[3, 4], coupling=[0, 0.5, 1])
    np.testing.assert_array_equal(hypers.seed, [3, 3, 3, 4, 4, 4])
    np.testing.assert_array_equal(hypers.coupling, np.float32([0, 0.5, 1, 0, 0.5, 1]))
    np.testing.assert_array_equal(hypers.learning_rate, np.full(6, 0.05, np.float32))
    assert hypers.seed.dtype == np.int32


def test_a_row_is_named_by_its_values_alone():
    names = grid.row_ids(grid.grid(STUDY, seed=[3, 4], coupling=[0, 0.5]))
    again = grid.row_ids(grid.rows(STUDY, coupling=[0.5], seed=[4]))
    assert names[3] == again[0]
    assert len(set(names)) == 4
    assert all(len(name) == 12 for name in names)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sed": [0]}, "regression has no Hyper field 'sed'; it has seed, coupling"),
        ({"coupling": []}, "coupling: an empty column makes an empty grid"),
        ({"coupling": [float("nan")]}, "coupling=nan: not a finite number"),
        ({"coupling": [11.0]}, r"coupling=11.0: outside its range \[0, 10\]"),
        ({"coupling": [-1]}, r"coupling=-1: outside its range \[0, 10\]"),
        ({"seed": [0.5]}, "seed=0.5: must be a whole number"),
        ({"seed": [0, 0]}, "row 2 of the grid repeats an earlier one: seed=0"),
        ({"seed": [-1]}, "seed=-1: outside its range"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(columns, message):
    with pytest.raises(InputError, match=message):
        grid.grid(STUDY, **columns)


def test_explicit_rows_want_columns_of_one_length():
    with pytest.raises(InputError, match="columns of different length: seed 2, coupling 3"):
        grid.rows(STUDY, seed=[0, 1], coupling=[0, 1, 2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "--steps 0: between 1 and"),
        ({"steps": -5}, "--steps -5: must be a finite number, 0 or more"),
        ({"schedule": "stairs"}, "--schedule stairs: not one of constant, cosine"),
        ({"average": float("inf")}, "--average inf: must be a finite number"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        Config(**values)


@pytest.mark.parametrize(
    ("asked", "log", "evaluate", "save"),
    [
        ({"steps": 1000}, 10, 200, 200),
        ({"steps": 7}, 2, 2, 2),
        ({"steps": 200, "checkpoint_every": 25}, 5, 40, 25),
        ({"steps": 200, "log_every": 7}, 7, 42, 42),
        ({"steps": 100, "eval_every": 30, "checkpoint_every": 20}, 10, 30, 20),
    ],
)
def test_cadences_left_at_0_are_chosen_to_fit(asked, log, evaluate, save):
    chosen = config.resolved(Config(**asked), None, "cpu")
    assert (chosen.log_every, chosen.eval_every, chosen.checkpoint_every) == (log, evaluate, save)
    assert chosen.eval_every % chosen.log_every == chosen.checkpoint_every % chosen.log_every == 0


def test_cadences_follow_the_record_of_the_first_start():
    first = config.resolved(Config(steps=100), None, "cpu")
    later = config.resolved(Config(steps=500), config.to_json(first), "gpu")
    assert (later.log_every, later.eval_every, later.width) == (first.log_every, first.eval_every, 1)


def test_a_cadence_inside_a_log_interval_is_refused():
    with pytest.raises(InputError, match="--checkpoint-every 25 is not a multiple of --log-every 10"):
        config.resolved(Config(log_every=10, checkpoint_every=25), None, "cpu")


def test_a_config_survives_json():
    before = Config(steps=7, schedule="cosine")
    assert config.from_json(Config, json.loads(json.dumps(config.to_json(before)))) == before
    with pytest.raises(InputError, match="has no field 'colour'"):
        config.from_json(Config, {"colour": 1})
