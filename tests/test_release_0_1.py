"""What 0.1 wrote, this version reads: sweeps stopped half-way go on, rows are exported, figures drawn.

``golden/checkpoint_0_1.zip`` was made by 0.1 with jax 0.10.2 and must not be made again; it holds of

    gidd-jax sweep kuramoto --oscillators 4 --seeds 0 --coupling 1 2 --steps 40 --burn-in 10 --log-every 10
        --eval-every 20 --checkpoint-every 20
    gidd-jax sweep sudoku --data 4x4 --steps 4 --d-model 4 --heads 1 --layers 1 --d-ff 4 --batch 2 --eval-boards 4
        --decode-boards 2 --decode 8 --seeds 0 --coupling 0 1 --log-every 4 --eval-every 4

the record and the checkpoint at step 20 and at the end, the table of the first (up to 20, and at its end) and one row
of the second as ``gidd-jax export`` wrote it.
"""

import json
import pathlib
import re
import zipfile

import numpy as np
import pytest

from gidd_jax import cli, export, ledger, record
from gidd_jax.studies import sudoku

FILE = pathlib.Path(__file__).parent / "golden" / "checkpoint_0_1.zip"
ROW = "44136fa355b3"
KURAMOTO = "--oscillators 4 --seeds 0 --coupling 1 2 --steps 40 --burn-in 10".split()


@pytest.fixture
def old(tmp_path):
    with zipfile.ZipFile(FILE) as kept:
        kept.extractall(tmp_path)
    return tmp_path


def test_it_is_of_the_version_it_says():
    with zipfile.ZipFile(FILE) as kept:
        for study in ("kuramoto", "sudoku"):
            assert json.loads(kept.read(f"{study}/config.json"))["versions"]["gidd_jax"] == "0.1.0"


def test_a_sweep_stopped_half_way_goes_on_to_the_end_it_had(old, capsys):
    assert cli.main(["sweep", "kuramoto", *KURAMOTO, "--quiet", "--out", str(old / "kuramoto")]) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) <= 1 and all("rows trained now may differ in rounding" in line for line in told)
    ended, then = ledger.table(old / "kuramoto"), record.table(old / "end")
    assert list(ended.columns) == list(then.columns)
    assert ended.drop(columns="value").equals(then.drop(columns="value"))
    half = then["step"] <= 20
    assert ended[half].equals(then[half])
    np.testing.assert_allclose(ended["value"], then["value"], rtol=1e-4)
    assert (old / "kuramoto" / "figures" / "transition.png").exists()


def test_a_row_is_exported_as_it_was(old, capsys):
    entry = export.write(sudoku, old / "sudoku", ROW, old / "now")
    assert (entry["step"], entry["told"]) == (4, "seed=0")
    with np.load(old / "now" / "params.npz") as now, np.load(old / "exported" / "params.npz") as then:
        assert sorted(now) == sorted(then)
        for name in then:
            np.testing.assert_array_equal(now[name], then[name], err_msg=name)
    now, then = (json.loads((old / name / "config.json").read_text()) for name in ("now", "exported"))
    for part in ("config", "hyper"):  # A later version may have added fields.
        assert then[part].items() <= now[part].items()
    assert (now["study"], now["row"], now["step"]) == (then["study"], then["row"], then["step"])
    assert export.load_model(sudoku, old / "exported")[1] == export.load_model(sudoku, old / "now")[1]


@pytest.mark.slow
def test_row_and_model_sample_alike_and_nothing_is_trained_over_a_checkpoint_without_its_table(old, capsys):
    board = ["--board", "1234341221434321", "12.............."]
    told = []
    for words in (["sudoku", "--row", ROW], ["exported"]):
        assert cli.main(["sample", str(old / words[0]), *words[1:], *board]) == 0
        told.append(re.sub(r"row .*", "", capsys.readouterr().out))
    assert told[0] == told[1]
    sizes = "--d-model 4 --heads 1 --layers 1 --d-ff 4 --batch 2 --eval-boards 4 --decode-boards 2 --decode 8".split()
    asked = ["--data", "4x4", *sizes, "--coupling", "0", "1", "--steps", "8", "--quiet", "--out", str(old / "sudoku")]
    assert cli.main(["sweep", "sudoku", *asked]) == 2
    assert "part-00000004.parquet: missing" in capsys.readouterr().err
