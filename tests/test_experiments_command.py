"""Experiments as commands: what goes wrong in them is one line and a status, as in `gidd-jax` itself."""

import pathlib
import subprocess
import sys

import pytest

from experiments import command
from gidd_jax.errors import InputError
from gidd_jax.sweep import Interrupted

FOLDER = pathlib.Path(command.__file__).parent
COMMANDS = sorted(path.stem for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text())


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (InputError("x.csv: no such file"), 2, "x.csv: no such file"),
        (Interrupted("stopped at step 3"), 130, "stopped at step 3"),
        (KeyboardInterrupt(), 130, "interrupted; what the last checkpoint holds is safe"),
        (PermissionError(13, "Permission denied", "runs"), 1, "runs: Permission denied"),
    ],
)
def test_what_goes_wrong_is_one_line(capsys, raised, status, told):
    with pytest.raises(SystemExit) as left, command.line("some"):
        raise raised
    assert (left.value.code, capsys.readouterr().err) == (status, f"some: {told}\n")


def test_what_goes_right_and_what_nobody_foresaw_passes(capsys):
    with command.line("some"):
        command.parser("some", "Help.").parse_args([])
    with pytest.raises(ZeroDivisionError), command.line("some"):
        _ = 1 / 0
    with pytest.raises(SystemExit) as left, command.line("some"):
        command.parser("some", "Help.").parse_args(["--nonsense"])
    assert left.value.code == 2
    assert capsys.readouterr().err.endswith("--nonsense (see python -m experiments.some --help)\n")


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "few"])
def test_a_count_is_one_at_least(capsys, text):
    made = command.parser("some", "Help.")
    made.add_argument("--seeds", type=command.count)
    assert made.parse_args(["--seeds", "3"]).seeds == 3
    with pytest.raises(SystemExit), command.line("some"):
        made.parse_args(["--seeds", text])
    assert f"{text}: how many, 1 at least" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_experiment_is_such_a_command(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert f'with command.line("{name}"):' in text and "ArgumentParser(" not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_flag_is_one_line_and_help_is_the_docstring(name):
    def run(*words):
        return subprocess.run([sys.executable, "-m", f"experiments.{name}", *words], capture_output=True, text=True)

    wrong = run("--nonsense", "1")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and f"experiments.{name} --help" in wrong.stderr
    helped = run("--help")
    assert helped.returncode == 0 and f"python -m experiments.{name}" in helped.stdout
