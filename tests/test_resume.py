"""A sweep directory: stopped anywhere it goes on to the same bits; what does not belong to it is refused by name."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from typing import Annotated, NamedTuple

import jax
import numpy as np
import pytest

from gidd_jax import checkpoint, ledger, sweep
from gidd_jax.config import Dial, setting
from gidd_jax.errors import InputError
from tests.probes import Config, Regression

pytestmark = pytest.mark.exact

STUDY = Regression()
CONFIG = Config(steps=60, log_every=5, eval_every=20, checkpoint_every=10)
HYPERS = {"seed": range(3), "coupling": [0.0, 1.0]}


def go(directory, config=CONFIG, **hypers):
    return sweep.run(STUDY, [(config, sweep.grid(STUDY, **(hypers or HYPERS)))], directory)


@pytest.fixture(scope="module")
def reference():
    return sweep.run(STUDY, [(CONFIG, sweep.grid(STUDY, **HYPERS))]).table


def stop_at(monkeypatch, step):
    """Makes the commit of ``step`` die half-way, as a kill would: the part is written, the checkpoint is not."""
    save = checkpoint.save

    def dying(directory, at, state, meta):
        if at == step:
            (directory / f".pending-{at:08d}").mkdir(parents=True)
            raise RuntimeError("killed")
        save(directory, at, state, meta)

    monkeypatch.setattr(checkpoint, "save", dying)


@pytest.mark.parametrize("step", [10, 30, 60])
def test_killed_between_part_and_checkpoint_the_table_ends_equal(tmp_path, monkeypatch, reference, step):
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(RuntimeError, match="killed"):
            go(tmp_path / "run")
    (cohort,) = (tmp_path / "run" / "metrics").iterdir()
    assert (cohort / f"part-{step:08d}.parquet").exists()
    assert step not in checkpoint.steps(tmp_path / "run" / "checkpoints" / cohort.name)
    assert go(tmp_path / "run").table.equals(reference)
    assert not list((tmp_path / "run").rglob(".pending*"))


def test_arrays_of_an_evaluation_lie_beside_the_table(tmp_path):
    result = go(tmp_path)
    with np.load(tmp_path / "arrays" / "g0-0-00000060-test.npz", allow_pickle=False) as arrays:
        for row, weights in zip(arrays["rows"], arrays["weights"], strict=True):
            np.testing.assert_array_equal(weights, result.states["g0", str(row)].state.params["w"])


def test_a_finished_sweep_trains_nothing_again(tmp_path, reference):
    go(tmp_path)
    before = (tmp_path / "timing.jsonl").read_text()
    assert go(tmp_path).table.equals(reference)
    assert (tmp_path / "timing.jsonl").read_text() == before


def test_added_rows_are_trained_alone_and_end_as_if_they_had_been_there(tmp_path, reference):
    go(tmp_path, seed=[0, 1], coupling=[0.0, 1.0])
    steps = (tmp_path / "checkpoints" / "g0-0" / "00000060").stat().st_mtime_ns
    assert go(tmp_path).table.equals(reference)
    assert (tmp_path / "checkpoints" / "g0-0" / "00000060").stat().st_mtime_ns == steps
    assert (tmp_path / "checkpoints" / "g0-1").is_dir()


def test_more_steps_under_a_constant_schedule_only(tmp_path, reference):
    longer = CONFIG
    shorter = Config(**{**CONFIG.__dict__, "steps": 40})
    go(tmp_path / "constant", shorter)
    ended = go(tmp_path / "constant", longer).table
    # The shorter run also measured the test split at its own end.
    assert ended[~((ended["step"] == 40) & (ended["split"] == "test"))].reset_index(drop=True).equals(reference)
    with pytest.raises(InputError, match="made with --steps 60, now 40"):
        go(tmp_path / "constant", shorter)
    cosine = {**CONFIG.__dict__, "schedule": "cosine"}
    go(tmp_path / "cosine", Config(**{**cosine, "steps": 40}))
    with pytest.raises(InputError, match="--steps 40 -> 60 needs --schedule constant"):
        go(tmp_path / "cosine", Config(**cosine))


def test_a_later_version_of_a_study_goes_on(tmp_path, reference):
    """Fields added with a default rename no row and turn no checkpoint into a foreign one."""
    fields = list(Regression.Hyper.__annotations__.items())
    dial = Annotated[float, Dial("", 0, 1, "new")]
    defaults = [*Regression.Hyper._field_defaults.values(), 0.5]

    class Later(Regression):
        Hyper = NamedTuple("Later", [*fields, ("added", dial)])
        Config = dataclasses.make_dataclass("Later", [("extra", int, setting(3, "new"))], bases=(Config,), frozen=True)

    Later.Hyper.__new__.__defaults__ = tuple(defaults)
    Later.Hyper._field_defaults = dict(zip(Later.Hyper._fields, defaults, strict=True))
    go(tmp_path, Config(**{**CONFIG.__dict__, "steps": 40}))
    config = Later.Config(**CONFIG.__dict__)
    table = sweep.run(Later(), [(config, sweep.grid(Later(), **HYPERS))], tmp_path).table
    assert (table.pop("added") == 0.5).all()
    ended = table[~((table["step"] == 40) & (table["split"] == "test"))].reset_index(drop=True)
    assert ended.equals(reference)


def test_the_width_of_the_first_start_is_kept(tmp_path):
    go(tmp_path, Config(**{**CONFIG.__dict__, "width": 2}))
    go(tmp_path)
    assert ledger.read(tmp_path)["groups"][0]["config"]["width"] == 2
    with pytest.raises(InputError, match="made with --width 2, now 8"):
        go(tmp_path, Config(**{**CONFIG.__dict__, "width": 8}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 9}, "made with --size 8, now 9"),
        ({"batch": 8}, "made with --batch 16, now 8"),
        ({"log_every": 10}, "made with --log-every 5, now 10"),
        ({"data_seed": 1}, "made with --data-seed 0, now 1"),
    ],
)
def test_another_config_is_refused_by_name(tmp_path, changed, message):
    go(tmp_path)
    with pytest.raises(InputError, match=message):
        go(tmp_path, Config(**{**CONFIG.__dict__, **changed}))


def test_other_data_under_the_same_name_are_refused(tmp_path, monkeypatch):
    go(tmp_path)
    monkeypatch.setattr(Regression, "load", lambda self, config: (None, "another"))
    with pytest.raises(InputError, match="made with other data"):
        go(tmp_path)


def test_fewer_rows_than_before_leave_the_others_and_what_is_derived(tmp_path, reference):
    go(tmp_path)
    assert go(tmp_path, seed=[0], coupling=[0.0]).table.equals(reference)


@pytest.mark.parametrize("part", ["part-00000020.parquet", "part-00000060.parquet"])
def test_a_missing_or_torn_part_is_never_passed_over(tmp_path, reference, capsys, part):
    go(tmp_path)
    path = tmp_path / "metrics" / "g0-0" / part
    path.write_bytes(path.read_bytes()[:-10])
    if part.endswith("60.parquet"):  # the checkpoint before it stands without it
        assert go(tmp_path).table.equals(reference)
        assert part in capsys.readouterr().err
        path.unlink()
        assert go(tmp_path).table.equals(reference)
    else:
        with pytest.raises(InputError, match=f"{part}: missing, torn or altered"):
            go(tmp_path)


def test_a_start_that_fails_leaves_nothing_in_the_way(tmp_path):
    with pytest.raises(InputError, match="a block of 1 replicas needs"):
        go(tmp_path / "run", Config(**{**CONFIG.__dict__, "memory_limit": 1e-9}))
    assert not (tmp_path / "run").exists()


def test_a_config_json_of_another_kind_is_one_line(tmp_path):
    for text in ("[]", "{", '{"study": "regression", "groups": [{}]}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            go(tmp_path)


def test_another_version_is_said(tmp_path, capsys):
    go(tmp_path)
    record = ledger.read(tmp_path)
    record["versions"]["jax"] = "0.0.1"
    ledger.write(tmp_path, record)
    go(tmp_path)
    assert "jax 0.0.1 -> " in capsys.readouterr().err


def test_another_study_and_a_foreign_directory_are_refused(tmp_path, monkeypatch):
    go(tmp_path / "run")
    monkeypatch.setattr(Regression, "name", "other")
    with pytest.raises(InputError, match="holds a sweep of 'regression', not of 'other'"):
        go(tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not empty and not a sweep directory"):
        go(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def damaged(directory, how):
    path = directory / "checkpoints" / "g0-0" / "00000060"
    file = max((p for p in (path / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    if how == "torn":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "flipped":
        blob = bytearray(file.read_bytes())
        blob[len(blob) // 2] ^= 1
        file.write_bytes(bytes(blob))
    elif how == "missing":
        file.unlink()
    elif how == "foreign":
        meta = json.loads((path / "meta.json").read_text())
        meta["rows"][0] = "0" * 12
        (path / "meta.json").write_text(json.dumps(meta))
        sums = checkpoint._sums(path)
        (path / checkpoint.SUMS).write_text(json.dumps(sums))
    return file


@pytest.mark.parametrize("how", ["torn", "flipped", "missing", "foreign"])
def test_an_unsound_checkpoint_is_named_and_the_one_before_it_used(tmp_path, reference, capsys, how):
    go(tmp_path)
    file = damaged(tmp_path, how)
    assert go(tmp_path).table.equals(reference)
    told = capsys.readouterr().err
    assert ("rows differs" if how == "foreign" else file.name) in told
    assert len(told.splitlines()) == 1


def test_with_no_sound_checkpoint_left_nothing_is_trained_over_it(tmp_path):
    go(tmp_path)
    for path in (tmp_path / "checkpoints" / "g0-0").iterdir():
        (path / "meta.json").write_text("{}")
    with pytest.raises(InputError, match="no sound checkpoint is left"):
        go(tmp_path)


def test_two_processes_cannot_share_a_directory(tmp_path):
    with ledger.locked(tmp_path), pytest.raises(InputError, match="another process is training there"):
        go(tmp_path)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        go(tmp_path / "file" / "run")


SCRIPT = """
    import jax
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_compilation_cache_dir", {cache!r})
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    from gidd_jax import sweep
    from tests.probes import Config, Regression
    config = Config(steps=4000, log_every=5, eval_every=200, checkpoint_every=50)
    hypers = sweep.grid(Regression(), seed=range(3), coupling=[0.0, 1.0])
    print("go", flush=True)
    try:
        sweep.run(Regression(), [(config, hypers)], {directory!r})
    except sweep.Interrupted as stopped:
        print(stopped)
        raise SystemExit(130)
"""


def begin(directory):
    script = textwrap.dedent(SCRIPT.format(cache=jax.config.jax_compilation_cache_dir, directory=str(directory)))
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())


def finish(directory):
    process = begin(directory)
    process.communicate()
    return process.returncode


def wait_for(directory, checkpoints, process):
    """Until that many parts are written, or the process ends."""
    while len(list(directory.glob("metrics/*/part-*"))) < checkpoints and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.slow
def test_sigkill_at_any_moment_ends_in_the_same_bits(tmp_path):
    assert finish(tmp_path / "plain") == 0
    for parts in (0, 1, 3, 4, 20, 40):
        process = begin(tmp_path / "killed")
        wait_for(tmp_path / "killed", parts, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert finish(tmp_path / "killed") == 0
    assert ledger.table(tmp_path / "killed").equals(ledger.table(tmp_path / "plain"))


def test_ctrl_c_saves_and_says_so(tmp_path):
    process = begin(tmp_path / "run")
    wait_for(tmp_path / "run", 2, process)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate()
    assert process.returncode == 130
    step = int(told.split("stopped at step ")[1].split()[0])
    assert checkpoint.steps(tmp_path / "run" / "checkpoints" / "g0-0")[-1] == step


HOST = """
    import jax, sys
    jax.config.update("jax_compilation_cache_dir", {cache!r})
    from gidd_jax import sweep
    from tests.probes import Config, Regression
    config = Config(steps=60, log_every=5, eval_every=20, checkpoint_every=10)
    sweep.run(Regression(), [(config, sweep.grid(Regression(), seed=range(3), coupling=[0.0, 1.0]))], sys.argv[3],
              host=sweep.Host(int(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.slow
def test_two_hosts_share_the_rows_and_leave_the_table_of_one(tmp_path):
    script = textwrap.dedent(HOST.format(cache=jax.config.jax_compilation_cache_dir))
    calls = [("0", "2", "both"), ("1", "2", "both"), ("0", "1", "alone")]
    hosts = [
        subprocess.Popen([sys.executable, "-c", script, host, count, str(tmp_path / run)], stderr=subprocess.PIPE)
        for host, count, run in calls
    ]
    for host in hosts:
        _, told = host.communicate()
        assert host.returncode == 0, told.decode()[-2000:]
    assert {path.name for path in (tmp_path / "both" / "checkpoints").iterdir()} == {"g0-0", "g0-1"}
    assert ledger.table(tmp_path / "both").equals(ledger.table(tmp_path / "alone"))
    # One host goes on with the rows of both.
    assert go(tmp_path / "both", **HYPERS | {"seed": range(4)}).table["row"].nunique() == 8


def test_two_processes_under_jax_distributed_leave_the_table_of_one(tmp_path):
    """Each writes its own rows and checkpoints; killed and joined again, then one goes on alone with all of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        sys.executable,
        "-m",
        "gidd_jax.cli",
        "sweep",
        "kuramoto",
        "--oscillators",
        "8",
        "--steps",
        "40",
        "--quiet",
    ]
    command += [
        "--seeds",
        "0",
        "1",
        "2",
        "--coupling",
        "1",
        "2",
        "--burn-in",
        "10",
        "--checkpoint-every",
        "20",
        "--out",
    ]
    joined = [*command, str(tmp_path / "both"), "--coordinator", address, "--hosts", "2", "--host"]
    calls = [[*joined, "0"], [*joined, "1"], [*command, str(tmp_path / "alone")]]
    for process in [subprocess.Popen(call, stderr=subprocess.PIPE) for call in calls]:
        _, told = process.communicate()
        assert process.returncode == 0, told.decode()[-2000:]
    both = tmp_path / "both"
    assert {path.name for path in (both / "checkpoints").iterdir()} == {"g0-0", "g0-1"}
    assert ledger.table(both).equals(ledger.table(tmp_path / "alone"))
    # One process goes on from what each of the two had saved.
    for path in [both / "metrics.parquet", *both.glob("checkpoints/*/00000040")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    subprocess.run([*command, str(both)], check=True, capture_output=True)
    assert ledger.table(both).equals(ledger.table(tmp_path / "alone"))
