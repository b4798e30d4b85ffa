"""Files made to do harm: nothing in them is run, nothing outside the directory is touched, one line is said."""

import ast
import json
import os
import pathlib
import pickle
import sys
import types

import jax
import numpy as np
import pandas as pd
import pytest

from gidd_jax import checkpoint, cli, export, ledger, record
from gidd_jax.config import from_json
from gidd_jax.errors import InputError
from gidd_jax.studies import kuramoto
from gidd_jax.weights import read

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = [path for room in ("gidd_jax", "experiments", "benchmarks") for path in sorted((ROOT / room).rglob("*.py"))]

UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_BUILTINS = {"eval", "exec", "compile", "__import__"}
UNSAFE_FUNCTIONS = {"read_pickle", "to_pickle", "system", "popen"}
# A function by the name it is called by -> what must stand in the call.
SAFE_ONLY_WITH = {"np.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_unpickles_or_runs_what_it_reads(path):
    tree = ast.parse(path.read_text())
    exceptions = {id(node.value) for node in ast.walk(tree) if ast.unparse(node) == "pickle.UnpicklingError"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in UNSAFE_MODULES:
            assert id(node) in exceptions, f"line {node.lineno}: {node.id}"
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.module.split(".")[0] not in UNSAFE_MODULES, f"line {node.lineno}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert called not in UNSAFE_BUILTINS, f"line {node.lineno}: {called}"
        assert called.split(".")[-1] not in UNSAFE_FUNCTIONS, f"line {node.lineno}: {called}"
        assert given.get("shell") != "True" and given.get("trust_remote_code") != "True", f"line {node.lineno}"
        assert not called.startswith("yaml.") or called == "yaml.safe_load", f"line {node.lineno}: {called}"
        if called in SAFE_ONLY_WITH:
            name, value = SAFE_ONLY_WITH[called]
            assert given.get(name) == str(value), f"line {node.lineno}: {called} without {name}={value}"


class Evil:
    """Whoever unpickles this makes a folder."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture
def marker(tmp_path):
    """A path that only running code makes; what tests check is that it is not there, after showing that it could be."""
    made = tmp_path / "made"
    pickle.loads(pickle.dumps(Evil(made)))
    made.rmdir()
    yield made
    assert not made.exists()


def refused(capsys, *words):
    status = cli.main(list(map(str, words)))
    told = capsys.readouterr()
    assert status == 2 and told.err.startswith("gidd-jax: ") and told.err.count("\n") == 1 and told.out == ""
    return told.err


def test_objects_in_an_npz_are_not_loaded(tmp_path, marker, capsys):
    model = tmp_path / "model"
    model.mkdir()
    np.savez(model / "params.npz", weight=np.array([Evil(marker)], object))
    (model / "config.json").write_text(json.dumps({"study": "sudoku", "hyper": {}, "config": {}}))
    with pytest.raises(InputError, match=r"params\.npz: no exported parameters there \(Object arrays"):
        export.read_params(model)
    assert "params.npz" in refused(capsys, "sample", model, "--board", "1" + "." * 15)


def test_code_in_a_torch_file_is_not_run(tmp_path, marker, monkeypatch, capsys):
    """With a stand-in that unpickles as torch does unless it is told not to."""

    def load(path, map_location=None, weights_only=False):
        if weights_only:
            raise pickle.UnpicklingError("Weights only load failed.")
        return pickle.loads(pathlib.Path(path).read_bytes())

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load))
    for suffix in (".pt", ".pth", ".bin", ".ckpt"):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(pickle.dumps({"state_dict": Evil(marker)}))
        with pytest.raises(InputError, match="holds objects that could run code"):
            read(path)
        assert str(path) in refused(capsys, "import-gidd", path, "--out", tmp_path / "out")


def test_shards_are_read_from_their_own_folder_only(tmp_path):
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(b"secret")
    folder = tmp_path / "model"
    folder.mkdir()
    index = {"weight_map": {"a": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"model/outside\.safetensors: no such file"):
        read(folder)


def hostile(directory, **changed):
    """A sweep's record, some of it replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    cohort = {"name": "g0-0", "host": 0, "hypers": {"seed": [0]}} | changed.pop("cohort", {})
    group = {"config": {"steps": 4}, "fingerprint": "drawn", "cohorts": [cohort]} | changed.pop("group", {})
    said = {"study": "kuramoto", "command": [], "versions": {}, "groups": [group]} | changed
    (directory / "config.json").write_text(json.dumps(said))
    return directory


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "g0-0/../../outside", "..", "", "g0-0\n", 7, None])
def test_a_cohort_whose_name_leads_elsewhere_is_refused_by_every_command(tmp_path, capsys, name):
    run = hostile(tmp_path / "runs" / "a", cohort={"name": name})
    victim = tmp_path / "outside" / ".pending-00000004"
    victim.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ["sweep", "kuramoto", "--steps", 4, "--oscillators", 4, "--out", run],
        ["evaluate", run],
        ["sample", run, "--row", "0"],
        ["export", run, "--row", "0", "--out", tmp_path / "model"],
    ):
        assert "config.json: cannot be read" in refused(capsys, *words)
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != ".lock"] == before


@pytest.mark.parametrize(
    "changed",
    [
        {"study": 3},
        {"study": ["kuramoto"]},
        {"versions": []},
        {"groups": [3]},
        {"groups": 3},
        {"group": {"config": []}},
        {"group": {"fingerprint": {}}},
        {"group": {"cohorts": [{}]}},
        {"cohort": {"hypers": []}},
        {"cohort": {"hypers": {"seed": 3}}},
        {"cohort": {"hypers": {"seed": [[1]]}}},
        {"cohort": {"hypers": {"seed": [None]}}},
        {"cohort": {"hypers": {"seed": [10**400]}}},
        {"cohort": {"hypers": {"coupling": [10**400]}}},
        {"cohort": {"hypers": {"seed": []}}},
        {"cohort": {"hypers": {"colour": [1]}}},
        {"cohort": {"host": "0"}},
    ],
    ids=lambda changed: str(changed)[:40],
)
def test_a_record_of_another_form_is_one_line(tmp_path, capsys, changed):
    refused(capsys, "export", hostile(tmp_path / "run", **changed))


@pytest.mark.parametrize("values", [{"steps": "4"}, {"steps": None}, {"dt": "x"}, {"method": 3}, {"steps": [1]}])
def test_a_setting_of_another_kind_is_refused(values):
    with pytest.raises(InputError, match=r"Config: .* cannot be "):
        from_json(kuramoto.Config, values)


@pytest.mark.parametrize("changed", [{"study": "chess"}, {"groups": []}, {}], ids=str)
def test_figures_of_a_record_that_tells_too_little_are_one_line(tmp_path, capsys, changed):
    run = hostile(tmp_path / "run", **changed)
    pd.DataFrame({"seed": [0], "step": [0], "value": [0.0]}).to_parquet(run / "metrics.parquet")
    refused(capsys, "plot", run)


def test_json_nested_too_deeply_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deeply"):
        record.read(tmp_path)


def test_a_checkpoint_cannot_name_files_elsewhere(tmp_path):
    """Its sums may be those of its files, and still its parts are files of its own sweep."""
    checkpoint.save(tmp_path, 4, {"x": np.zeros(2)}, {"study": "s", "parts": {"../../secret": "0"}})
    told = checkpoint.verify(tmp_path / "00000004", {"study": "s"}, tmp_path / "parts")
    assert told.endswith("meta.json: no part of a table is called '../../secret'")
    (tmp_path / "00000004" / "meta.json").write_text("[]")
    assert "meta.json: unreadable" in checkpoint.verify(tmp_path / "00000004", {})


def test_folders_of_no_cohort_of_the_record_are_named(tmp_path):
    """Else a record that was altered would have its rows trained anew, and the table hold them twice."""
    run = hostile(tmp_path, cohort={"name": "g0-1"})
    (run / "metrics" / "g0-0").mkdir(parents=True)
    study = types.SimpleNamespace(name="kuramoto")
    with pytest.raises(InputError, match=r"metrics/g0-0: is of no cohort that .*config\.json names"):
        ledger.opened(run, study, jax.devices())
