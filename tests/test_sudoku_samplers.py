"""Samplers in the study: by name, with the truth in place of a head, and with more passes than in training."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gidd_jax.analysis import format_summary
from gidd_jax.errors import InputError
from gidd_jax.models import two_head
from gidd_jax.studies import sudoku, sudoku_decoding, sudoku_model

TINY = dict(data="4x4", d_model=8, heads=2, layers=1, batch=8, eval_boards=16, decode_boards=8, decode=(16,), steps=6)
BOTH = "+oracle_holding+oracle_jump"


def decoded(**settings):
    """Metrics of an untrained model on 8 boards."""
    config = sudoku.Config(**TINY | settings)
    data = jax.tree.map(jnp.asarray, sudoku.load(config)[0])
    question, answer = data["question"][:8], data["answer"][:8]
    model = sudoku_model.shape(config, data)

    @jax.jit
    def run(key):
        params = two_head.init(key, model)
        return sudoku_decoding.decoded(jax.random.key(1), params, config, data, question, answer, two_head.Couplings())

    return {name: float(mean.value()) for name, mean in run(jax.random.key(0)).items()}, question


KINDS = ("puzzle_accuracy", "cell_accuracy", "violations", "model_calls")


def test_every_sampler_and_oracle_is_a_metric_of_its_own():
    names = ("resample", f"resample{BOTH}", "resample+oracle_holding")
    found, question = decoded(samplers=names, sampler_steps=20, sampler_cells=2)
    assert set(found) == {f"{kind}@16" for kind in KINDS[:3]} | {f"{kind}@{name}" for kind in KINDS for name in names}
    for name in names:
        solved = found[f"puzzle_accuracy@{name}"]
        assert (solved, found[f"violations@{name}"]) == (1, 0) if BOTH in name else solved < 1
    assert found["model_calls@resample"] == 20
    assert found[f"model_calls@resample{BOTH}"] <= np.ceil((np.asarray(question) == 0).sum(1) / 2).mean() + 1
    # Right cells are left alone and wrong ones drawn again.
    assert found["cell_accuracy@resample+oracle_holding"] > found["cell_accuracy@resample"] + 0.2


@pytest.mark.slow
@pytest.mark.parametrize("label", ["resampled", "wrong"])
def test_the_reverse_process_ends_at_what_the_oracles_know(label):
    names = ("ancestral", f"ancestral{BOTH}", "k-pass+oracle_jump")
    found, _ = decoded(samplers=names, label=label, sampler_steps=5)
    assert found[f"puzzle_accuracy@ancestral{BOTH}"] == found["puzzle_accuracy@k-pass+oracle_jump"] == 1
    assert found["puzzle_accuracy@ancestral"] < 1 and found["model_calls@ancestral"] == 5


@pytest.mark.slow
def test_masked_models_are_completed_by_masking_again():
    names = ("remask", "remask+oracle_jump", "k-pass", "ancestral")
    found, question = decoded(noise="masked", samplers=names, decode_by="confidence")
    assert found["puzzle_accuracy@remask+oracle_jump"] == 1
    assert found["model_calls@remask"] == found["model_calls@ancestral"] == 16
    # One cell at each of 16 calls.
    np.testing.assert_allclose(found["model_calls@k-pass"], (np.asarray(question) == 0).sum(1).mean())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (dict(samplers=("guess",)), "sampler guess: not one of k-pass, ancestral, resample, remask"),
        (dict(samplers=("resample+oracle",)), "sampler resample.oracle: not one of"),
        (dict(samplers=("remask",)), "sampler remask: needs --noise masked, not uniform"),
        (dict(samplers=("resample",), noise="masked"), "sampler resample: needs --noise uniform, not masked"),
        (dict(samplers=("k-pass+oracle_holding",), decode_by="confidence"), "the holding head decides nothing under"),
        (dict(samplers=("k-pass+oracle_holding",), noise="masked"), "the holding head decides nothing under masked"),
        (dict(eval_iterations=2), "--eval-iterations 2: a model of 1 pass has not learnt to go on"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, told):
    with pytest.raises(InputError, match=told):
        sudoku.Config(**settings)


def test_an_iterated_stack_may_run_longer_than_in_training():
    config = sudoku.Config(**TINY, iterations=2, eval_iterations=5)
    data, _ = sudoku.load(config)
    trained, longer = (sudoku_model.shape(each, data) for each in (config, sudoku_model.measuring(config)))
    assert (trained.iterations, longer.iterations) == (2, 5)
    key, board = jax.random.key(0), jnp.asarray(data["answer"][:2], jnp.int32)
    params = jax.eval_shape(partial(two_head.init, config=trained), key)

    def run(params):
        return two_head.apply(params, longer, board, board > 2, jnp.ones(2), two_head.Couplings())

    assert jax.eval_shape(run, params).jump.shape == (5, 2, 16, 4)
    del params["feedback"]
    with pytest.raises(InputError, match="iterations 5: these parameters are of a model of 1"):
        jax.eval_shape(run, params)
    assert sudoku_model.measuring(dataclasses.replace(config, eval_iterations=0)).iterations == 2


def test_samplers_are_lines_of_a_block_of_their_own():
    rows = [("jump_loss", 1.0), ("puzzle_accuracy@10", 0.1)]
    rows += [(f"puzzle_accuracy@{name}", value) for name, value in (("resample", 0.5), ("resample+oracle_jump", 0.75))]
    rows += [(f"model_calls@{name}", 81.0) for name in ("resample", "resample+oracle_jump")]
    table = pd.DataFrame(
        [
            dict(row=f"r{seed}{dial}", group="g0", seed=seed, attention=dial, step=6, split="test", bin=-1)
            | dict(presentations=48, metric=metric, value=value + dial)
            for metric, value in rows
            for seed in (0, 1)
            for dial in (0.0, 1.0)
        ]
    )
    told = format_summary(table, "attention")
    block = told[told.index("Samplers") :].split("\n\n")[0].splitlines()
    assert [line.split()[:3] for line in block[-4:]] == [
        ["0", "resample", "0.500"],
        ["1", "resample", "1.500"],
        ["0", "resample+oracle_jump", "0.750"],
        ["1", "resample+oracle_jump", "1.750"],
    ]
    assert "solved" in told[: told.index("Samplers")] and max(map(len, told.splitlines())) <= 120
