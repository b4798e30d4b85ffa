"""Files of boards that nobody should write: accepted or refused in one line, never anything else."""

import pyarrow
import pyarrow.parquet
import pytest

from experiments import drill_boards
from gidd_jax.data import sudoku
from gidd_jax.errors import InputError

ROW = ("1...............", "1234341221434321")


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_fuzzed_files_are_accepted_or_refused_in_one_line(tmp_path, count):
    found = drill_boards.fuzz(tmp_path, count, seed=count)
    assert not found.broken
    kinds = {end: {kind for kind, at in found.ends if at == end} for end in ("accepted", "refused")}
    assert "sound" not in kinds["refused"] and "sound" in kinds["accepted"]
    assert drill_boards.KINDS.keys() - kinds["refused"] == {"sound", "thousands of columns"}
    assert drill_boards.KINDS.keys() - kinds["accepted"] <= {"random bytes", "spoilt parquet"}


def refused(path, **options):
    with pytest.raises(InputError) as caught:
        sudoku.load(path, **options)
    return str(caught.value)


def test_parquet_whose_text_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "boards.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"question": ROW[:1], "answer": ROW[1:]}), path, compression="none")
    path.write_bytes(path.read_bytes().replace(ROW[1].encode(), b"\xff" + ROW[1][1:].encode()))
    told = refused(path)
    assert told.startswith(f"{path}: this is not a parquet file (") and "\n" not in told


def test_a_crooked_row_whose_bytes_are_no_text_is_refused_without_another_word(tmp_path, capsys):
    path = tmp_path / "boards.csv"
    path.write_bytes(f"question,answer\n{','.join(ROW)},".encode() + b"\xb0\n")
    for skip_bad in (False, True):
        assert refused(path, skip_bad=skip_bad) == f"{path}: this is not a CSV file (byte 0xb0 in it is not UTF-8)"
    assert capsys.readouterr().err == ""
