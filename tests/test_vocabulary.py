"""One word for one thing: dials, settings and metrics say what they are, in the words of ARCHITECTURE.md."""

import dataclasses
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from gidd_jax import analysis, config
from gidd_jax.commands import flags

ROOT = pathlib.Path(__file__).parent.parent
TEXTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]
TEXTS += [*ROOT.glob("gidd_jax/**/*.py"), *ROOT.glob("gidd_jax/**/*.js"), *ROOT.glob("experiments/*.py")]
# What is not said -> what is.
SYNONYMS = {
    r"hyper-?parameters?": "dials and settings",
    r"no hyper named|Hyper field on": "dial",
    r"function evaluations?|NFE|calls? of the model": "model calls",
    r"(puzzles?|grids?) solved": "boards solved",
    r"NELBO|negative log[- ]likelihood": "bound, nll",
    r"coupling (strength|constant)": "coupling",
    r"knock ?outs?": "knock-out",
    r"(validation|dev|hold-?out) set": "split",
    r"nats ?/ ?(token|cell)": "nats per token, nats per cell",
    r"out_?dir(ectory)?": "--out",
}
UNITS = {"", "steps", "1/step", "1/time", "layers"}
TINY = {
    "sudoku": dict(data="4x4", d_model=8, heads=1, layers=1, batch=2, eval_boards=2, decode_boards=2, branch_boards=2)
    | dict(decode=(4,), samplers=("resample",)),
    "language": dict(data="markov", length=8, d_model=8, heads=1, layers=1, batch=2, eval_sequences=2, strata=2)
    | dict(samples=2, sample_steps=2, correct_steps=2),
    "phase": dict(data="markov", length=8, d_model=8, heads=1, layers=2, batch=2, eval_sequences=2, strata=2)
    | dict(samples=2, sample_steps=2),
    "concepts": dict(
        data="kjv", similarity="none", cut="line", limit=400_000, length=8, d_model=8, heads=1, hidden=8, batch=2
    )
    | dict(eval_sequences=4, strata=2, concepts=2),
    "kuramoto": dict(oscillators=4),
    "syncgap": dict(data="synthetic", limit=100, d_model=8, heads=1, layers=2, batch=2, eval_images=2, pairs=2)
    | dict(forks=3, sample_steps=4),
}


def test_no_text_says_a_thing_by_another_word():
    for path in TEXTS:
        for synonym, word in SYNONYMS.items():
            found = re.search(rf"(?<![\w-])({synonym})(?![\w-])", path.read_text())
            assert not found, f"{path.relative_to(ROOT)}: {found[0]!r}; say: {word}"


@pytest.mark.parametrize("name", flags.STUDIES)
def test_every_dial_and_setting_says_what_it_is(name):
    study = flags.study(name)
    for field, (_, dial) in config.dials(study.Hyper).items():
        assert dial.help and dial.unit in UNITS, field
        assert dial.low <= study.Hyper._field_defaults[field] <= dial.high, field
        in_steps = field.endswith(("_steps", "_until", "_after", "_start", "_warmup")) or dial.help.startswith("step")
        assert (dial.unit == "steps") == in_steps, field
    for field in dataclasses.fields(study.Config):
        assert len(field.metadata["help"]) > 4 and field.metadata["help"][-1] != ".", field.name


def test_a_setting_of_several_studies_is_of_one_kind():
    kinds = {}
    for name in flags.STUDIES:
        for field in dataclasses.fields(flags.study(name).Config):
            kinds.setdefault(field.name, set()).add(type(field.default))
    assert [name for name, found in kinds.items() if len(found) > 1] == ["pairs"]  # how many, or which file


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_metric_has_a_name_and_a_unit(name):
    study = flags.study(name)
    settings = study.Config(**TINY[name])
    data = jax.tree.map(jnp.asarray, study.load(settings)[0])
    hyper = jax.tree.map(jnp.asarray, study.Hyper())

    def all_metrics(key, data):
        start, measure, train = jax.random.split(key, 3)
        state = study.init(start, hyper, settings, data)
        told = study.evaluate(state, measure, hyper, settings, data, jnp.int32(0))[0]
        return told | study.step(state, train, hyper, settings, data, jnp.int32(0))[1]

    found = jax.eval_shape(all_metrics, jax.random.key(0), data)
    assert len(found) > 2
    assert [metric for metric in found if not analysis.metric_unit(metric)] == []
