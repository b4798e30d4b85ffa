"""Difficulty tiers made of the ratings in a user's own file, in the study and in the factorial."""

import argparse

import numpy as np
import pytest

from experiments import easy_vs_hard
from gidd_jax.data.sudoku import format, load, rating_tiers, tiers
from gidd_jax.errors import InputError
from gidd_jax.studies import sudoku

RATINGS = ("0", "3", "60", "", "0", "200")
SMALL = dict(steps=2, d_model=8, layers=1, heads=2, batch=8, eval_boards=16, branch_boards=8)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """300 boards of 4x4 and their ratings; and the same file without them."""
    boards, folder = load("4x4", limit=300), tmp_path_factory.mktemp("boards")
    pairs = [(format(q), format(a)) for q, a in zip(boards.question, boards.answer, strict=True)]
    lines = [f"{q},{a},{RATINGS[i % 6]}" for i, (q, a) in enumerate(pairs)]
    for name, columns, rows in (("rated", ",rating", lines), ("plain", "", [",".join(pair) for pair in pairs])):
        (folder / f"{name}.csv").write_text("\n".join([f"question,answer{columns}", *rows]) + "\n")
    return folder


def preset(given):
    usual = dict(preset="short", data=None, rating=(), clues=())
    return easy_vs_hard.asked(argparse.Namespace(**usual | given))


def test_tiers_are_what_the_file_rates_so(written):
    data, _ = sudoku.load(sudoku.Config(data=str(written / "rated.csv"), rating_tiers=(0, 50)))
    boards = load(written / "rated.csv")
    kept = [boards.rating == 0, boards.rating > 50]
    assert [mask.sum() for mask in kept] == [100, 100]
    np.testing.assert_array_equal(data["count"].sum(axis=0), [200, 100, 100])
    for tier, mask in enumerate(kept, 1):
        own = [
            slice(start, start + count)
            for start, count in zip(*(data[n][:, tier] for n in ("start", "count")), strict=True)
        ]
        found = sorted(row.tobytes() for part in own for row in data["question"][part])
        assert found == sorted(row.tobytes() for row in boards.question[mask])


def test_the_factorial_takes_them(written):
    rated = preset(dict(data=str(written / "rated.csv"), rating=[0, 50], clues=[4, 16]))
    boards = rated.boards()
    assert tiers(boards)[0] == ("all", *rated.tiers) == ("all", *rating_tiers(0, 50))
    assert "easy: 100 boards rated 0 or less" in (told := easy_vs_hard.described(rated, boards))
    assert "hard: 100 boards rated above 50" in told and told.count(" clues") == 2
    few = preset(dict(data=str(written / "rated.csv"), rating=[0, 50], clues=[6, 6])).boards()
    assert set(few.clues) == {6} and 0 < len(few) < 200


@pytest.mark.parametrize(
    ("name", "rating", "told"),
    [
        ("plain.csv", (0, 50), "plain.csv: no board has a rating; tiers by rating need a column rating$"),
        ("rated.csv", (0, 200), "rated.csv: no board is rated above 200; its ratings run from 0 to 200$"),
        ("rated.csv", (-5, 50), "rated.csv: no board is rated -5 or less; its ratings run from 0 to 200$"),
        ("rated.csv", (50, 0), "--rating-tiers takes two numbers, LOW and HIGH$"),
    ],
)
def test_what_makes_no_tiers_is_one_line(written, name, rating, told):
    with pytest.raises(InputError, match=told) as error:
        sudoku.load(sudoku.Config(data=str(written / name), rating_tiers=rating))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [dict(data="a.csv"), dict(rating=[0, 50]), dict(clues=[24, 24])])
def test_half_of_what_makes_tiers_is_refused(given):
    with pytest.raises(InputError, match="--data FILE and --rating LOW HIGH make tiers together"):
        preset(given)


@pytest.mark.slow
def test_the_factorial_runs_on_a_rated_file(written, tmp_path):
    rated = preset(dict(data=str(written / "rated.csv"), rating=[0, 50]))
    rated = rated._replace(settings=rated.settings | SMALL)
    assert easy_vs_hard.main(tmp_path, rated, 2, True) == 0
    assert "rated above 50" in (tmp_path / "easy_vs_hard.txt").read_text()
