"""What the documents say runs, and ends where they say it does."""

import doctest
import importlib
import json
import pathlib
import pkgutil
import re
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gidd_jax
from gidd_jax import analysis, cli, corruption, diffusion, kuramoto, losses, replica, sampling, schedules, sweep
from gidd_jax.commands import flags
from gidd_jax.data import sudoku

ROOT = pathlib.Path(__file__).parent.parent
WITH_EXAMPLES = """
    hybrid log_snr alpha beta_pi marginal corrupt gidd_terms gidd_loss itakura_saito masked_elbo reverse_probs
    reveal_counts coupled_attention linear_split initial_pair scale_discrepancy ddim_step speciation order_parameter
    critical_coupling stationary_r simulate fit_sigmoid bootstrap_midpoint mode_energies effective_rank rankme load
    parse violations grid
""".split()


def test_the_examples_of_docstrings_are_true():
    names = dict(jax=jax, jnp=jnp, np=np, analysis=analysis, corruption=corruption, diffusion=diffusion)
    names |= dict(kuramoto=kuramoto, losses=losses, replica=replica, sampling=sampling, schedules=schedules)
    names |= dict(sudoku=sudoku, sweep=sweep)
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(verbose=False)
    found, told = set(), []
    for info in pkgutil.walk_packages(gidd_jax.__path__, "gidd_jax."):
        if info.name != "gidd_jax.__main__":
            for example in finder.find(importlib.import_module(info.name), globs=names):
                if example.examples:
                    runner.run(example, out=told.append)
                    found.add(example.name.split(".")[-1])
    assert not runner.failures, "".join(told)
    assert found >= set(WITH_EXAMPLES)


def blocks(path):
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.S)


def run(code, space, steps):
    """Python of a document with fewer steps, enough to see a loss fall."""
    exec(compile(code.replace("steps=300", f"steps={steps}"), "document", "exec"), space)


def told(table, by):
    return table.query("metric == 'told'").groupby(by)["value"].mean()


def test_the_study_of_the_readme_runs_and_learns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, code = blocks("README.md")
    assert sum(bool(line) for line in code.splitlines()) <= 35
    space = {"__name__": "readme"}
    run(code, space, steps=50)
    first, *_, last = told(space["table"].query("learning_rate > 0.009"), "step")
    assert 2.0 < first < 2.7 and last < first / 2
    assert space["table"].query("metric == 'bound'")["row"].nunique() == 8


def test_the_commands_of_the_documents_are_understood(tmp_path, monkeypatch):
    class Understood(Exception):
        pass

    def stop(*_):
        raise Understood

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(flags, "prepare_jax", stop)
    for name, study in {"text": "language", "words": "phase", "concepts": "concepts"}.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text(json.dumps({"study": study}))
    texts = [path.read_text() for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))]
    commands = [line for text in texts for line in re.findall(r"^    gidd-jax (.*)", text, re.M)]
    commands = [shlex.split(line, comments=True) for line in commands if "$" not in line and "..." not in line]
    assert len(commands) > 12
    for words in commands:
        with pytest.raises(Understood):
            cli.main(words)


@pytest.mark.slow
def test_the_other_python_of_readme_and_documents_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, own = blocks("README.md")
    space = {"__name__": "readme"}
    run(first, space, steps=20)
    train_loss = space["result"].table.query("metric == 'loss' and split == 'train'")
    assert len(train_loss["row"].unique()) == len(space["hypers"].seed) == 12
    run(own, space, steps=10)
    dial, sparse = blocks("docs/own_study.md")
    run(dial, space, steps=50)
    assert told(space["table"], ["group", "focus"]).shape == (4,)
    falls = told(space["table"], "step")
    assert 2.0 < falls.iloc[0] < 3.5 and falls.iloc[-1] < falls.iloc[0] / 1.5
    run(sparse, space, steps=20)
    sizes = space["sizes"].query("metric == 'size'").groupby("row")["value"]
    assert len(sizes) == 8 and (sizes.count() >= 2).all() and (sizes.min() > 100).all()


@pytest.mark.slow
def test_the_notebook_runs_from_the_first_cell_to_the_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text())["cells"]
    space = {"__name__": "quickstart"}
    with jax.numpy_rank_promotion("allow"):  # as in a notebook
        for cell in cells:
            if cell["cell_type"] == "code":
                exec(
                    compile("".join(cell["source"]).replace("steps=200", "steps=40"), "quickstart.ipynb", "exec"), space
                )
    told = capsys.readouterr().out
    assert "Before training" in told and "benefit of coupling" in told
    assert space["by_seed"].shape == (4, 3) and bool(jnp.isfinite(space["loss"]))
