"""What a full disk leaves: one OSError that names the file, and nothing half-written."""

import contextlib
import errno
import logging
import sys
import types

import numpy as np
import pytest

from gidd_jax import checkpoint, files

TENSORSTORE = "RESOURCE_EXHAUSTED: Error writing \"state.w/0\": Failed to write 303 bytes [os_error_code='28']\nmore"


def test_a_file_is_not_there_in_part_and_the_error_names_it(tmp_path):
    def fill(pending):
        pending.write_text("half")
        with open("/dev/full", "w") as full:
            full.write("x")

    with pytest.raises(OSError) as caught:
        files.write(tmp_path / "part.parquet", fill)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "part.parquet"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "code"),
    [(TENSORSTORE, errno.ENOSPC), ("INTERNAL: no one knows", errno.EIO)],
    ids=["full", "unknown"],
)
def test_a_checkpoint_that_cannot_be_written_is_one_error_and_the_one_before_it_stays(
    tmp_path, monkeypatch, said, code
):
    checkpoint.save(tmp_path, 1, {"w": np.ones(2)}, {"parts": {}})
    monkeypatch.setattr(sys, "unraisablehook", told := [].append)

    @contextlib.contextmanager
    def failing():
        def save(*_, **__):
            logging.getLogger("absl").error("pages")
            raise ValueError(said)

        yield types.SimpleNamespace(save=save)

    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(checkpoint, "_checkpointer", failing)
        checkpoint.save(tmp_path, 2, {"w": np.ones(2)}, {"parts": {}})
    assert (caught.value.errno, caught.value.filename) == (code, str(tmp_path / "00000002"))
    assert checkpoint.steps(tmp_path) == [1] and checkpoint.newest(tmp_path, {})[1] == 1
    late = types.SimpleNamespace(exc_value=RuntimeError("Event loop is closed"))
    other = types.SimpleNamespace(exc_value=RuntimeError("something else"))
    sys.unraisablehook(late)
    sys.unraisablehook(other)
    assert told.__self__ == [other]
