"""Properties of schedules, noise, boards as text and grids, for whatever hypothesis thinks of."""

import functools

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import assume, given, settings
from scipy import stats

from gidd_jax import corruption, grid, schedules
from gidd_jax.data import sudoku
from gidd_jax.errors import InputError
from tests.probes import Regression

STUDY = Regression()
V, MASK = 11, 3
steady = settings(deadline=None, derandomize=True, database=None)

PROBABILITY = st.sampled_from([0.0, 1e-7, 0.5, 0.99]) | st.floats(0, 1 - 2**-10, width=32)
TIMES = st.lists(st.floats(0, 1, width=32), min_size=8, max_size=8)
MADE = {
    "linear": (lambda first, second: schedules.linear(V, MASK, first), PROBABILITY | st.just(1.0), st.just(1.0)),
    "hybrid": (
        lambda first, second: schedules.hybrid(V, MASK, first, second),
        PROBABILITY,
        st.floats(0.125, 2, width=32),
    ),
    "log_snr": (
        lambda first, second: schedules.log_snr(V, MASK, second, first),
        st.sampled_from([-1000.0, 0.0, 1000.0]) | st.floats(-4, 4, width=32),
        st.floats(0.25, 2, width=32),
    ),
}


@functools.cache
def program(name):
    """One compiled program a family: masses, marginal, log-SNR and unit time."""

    def measured(first, second, t):
        schedule = MADE[name][0](first, second)
        t = schedule.time_of(t) if name == "log_snr" else t
        noise = schedules.beta_pi(schedule, t)
        return schedule.masses(t), noise, schedule.unit_time(t)

    return jax.jit(measured)


@pytest.mark.parametrize("name", MADE)
def test_masses_are_a_distribution_that_forgets_the_clean_token(name):
    @steady
    @given(MADE[name][1], MADE[name][2], TIMES)
    def check(first, second, times):
        times = np.sort(np.float32(times))
        masses, noise, unit = jax.tree.map(np.float64, program(name)(np.float32(first), np.float32(second), times))
        assert all((mass >= 0).all() for mass in masses) and (masses.keep <= 1).all()
        np.testing.assert_allclose(masses.keep + noise.sum(-1), 1, rtol=1e-6)
        # Time runs from clean to noise, where uniform numbers draw log-SNRs the other way round.
        order = np.argsort(unit, kind="stable")
        assert (np.diff(masses.keep[order]) <= 1e-6).all()
        np.testing.assert_array_equal(np.delete(noise, MASK, -1), np.repeat(masses.uniform[:, None], V - 1, -1))
        if name != "log_snr":
            np.testing.assert_array_equal(masses.keep[times == 0], 1)
            np.testing.assert_array_equal(noise[times == 0], 0)
            np.testing.assert_array_equal(masses.keep[times == 1], 0)

    check()


@functools.cache
def corrupt():
    """A compiled draw of 64 boards of 25 cells; the mix, time, tokens and what is protected are traced."""

    def draw(seed, p_uniform, t, x, protected):
        schedule = schedules.hybrid(V, MASK, p_uniform)
        z, resampled = corruption.corrupt(jax.random.key(seed), schedule, x, t, protected)
        return z, resampled, schedules.alpha(schedule, t)

    return jax.jit(draw)


@settings(steady, max_examples=40)
@given(st.integers(0, 2**31 - 1), PROBABILITY, st.floats(0, 1, width=32), st.floats(0, 1))
def test_noise_leaves_what_is_protected_and_resamples_its_share(seed, p_uniform, t, share):
    rng = np.random.default_rng(seed)
    x = rng.choice(np.delete(np.arange(V), MASK), (64, 25)).astype(np.int32)
    protected = rng.random(x.shape) < share
    z, resampled, keep = map(np.asarray, corrupt()(seed, np.float32(p_uniform), np.float32(t), x, protected))
    assert (z[protected] == x[protected]).all() and not resampled[protected].any()
    assert (z[~resampled] == x[~resampled]).all()
    assert ((z >= 0) & (z < V)).all()
    if p_uniform == 0:
        # B is read no smaller than e^-20: uniform tokens are then drawn once in some 1e8 cells.
        assert (z[resampled] == MASK).all()
    free = int((~protected).sum())
    assume(free > 0)
    # 40 derandomised examples, each refused with probability 1e-6.
    assert stats.binomtest(int(resampled.sum()), free, float(np.clip(1 - keep, 0, 1))).pvalue > 1e-6


@settings(steady, max_examples=30)
@given(st.integers(0, 2**31 - 1), st.sampled_from([1, 7, 40]), st.booleans(), st.floats(0, 0.5))
def test_times_stay_in_their_range_and_spread(seed, count, low_discrepancy, floor):
    t = np.asarray(corruption.uniform_times(jax.random.key(seed), count, low_discrepancy, floor))
    assert t.shape == (count,) and (t >= np.float32(floor)).all() and (t < 1).all()
    if low_discrepancy and floor == 0:
        assert np.ptp(np.sort(t) - np.arange(count) / count) < 1e-5


BOXES = st.sampled_from([sudoku.Box(2, 2), sudoku.Box(2, 3), sudoku.Box(3, 2), sudoku.Box(3, 3), sudoku.Box(4, 4)])


@st.composite
def boards(draw):
    box = draw(BOXES)
    return box, np.array(draw(st.lists(st.integers(0, box.size), min_size=box.cells, max_size=box.cells)), np.uint8)


@steady
@given(boards())
def test_a_board_shown_is_the_board(pair):
    box, board = pair
    shown = sudoku.show(board, box)
    read = "".join(character for character in shown if character in ".123456789ABCDEFG")
    assert sudoku.parse(read, box).tolist() == board.tolist()
    lines = shown.splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == box.size + box.size // box.rows - 1


@steady
@given(st.text(max_size=90), st.none() | BOXES)
def test_any_text_is_a_board_or_one_line(text, box):
    try:
        board = sudoku.parse(text, box)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert sudoku.format(board) == text.replace("0", ".")


@steady
@given(st.text(max_size=8))
def test_any_text_is_a_box_or_one_line(text):
    try:
        box = sudoku.Box.parse(text)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        rows, cols = map(int, text.lower().split("x"))
        assert (box.rows, box.cols) == (rows, cols)


FINITE = st.floats(0, 1, width=32)
COLUMNS = st.fixed_dictionaries(
    {"seed": st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4, unique=True)},
    optional={
        "coupling": st.lists(FINITE.map(lambda x: 10 * x), min_size=1, max_size=4, unique_by=np.float32),
        "learning_rate": st.lists(FINITE, min_size=1, max_size=3, unique_by=np.float32),
        "poison_at": st.lists(st.integers(-1, 10**6), min_size=1, max_size=3, unique=True),
    },
)


@steady
@given(COLUMNS, st.randoms(use_true_random=False))
def test_a_row_keeps_its_name_in_whatever_grid_it_stands(columns, random):
    names = grid.row_ids(grid.grid(STUDY, **columns))
    assert len(set(names)) == len(names) == np.prod([len(column) for column in columns.values()])
    order = list(columns)
    random.shuffle(order)
    turned = {name: random.sample(columns[name], len(columns[name])) for name in order}
    assert set(grid.row_ids(grid.grid(STUDY, **turned))) == set(names)
    one = {name: [random.choice(column)] for name, column in columns.items()}
    (alone,) = grid.row_ids(grid.rows(STUDY, **one))
    assert alone in names
    # A column that is given as the default everywhere renames nothing.
    assert grid.row_ids(grid.grid(STUDY, **columns, b2=0.99)) == names


@steady
@given(COLUMNS, st.data())
def test_a_repeated_value_is_refused(columns, data):
    name = data.draw(st.sampled_from(sorted(columns)))
    columns[name] = [*columns[name], data.draw(st.sampled_from(columns[name]))]
    with pytest.raises(InputError, match="of the grid repeats an earlier one"):
        grid.grid(STUDY, **columns)


WRONG = st.one_of(
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), 1e300]),
    st.floats(10.001, 1e30),
    st.floats(-1e30, -1e-30),
    st.integers(11, 10**30),
)


@steady
@given(st.lists(FINITE, max_size=3), WRONG, st.integers(0, 3))
def test_a_value_out_of_range_is_refused_in_one_line(others, wrong, place):
    column = [*others[:place], wrong, *others[place:]]
    with pytest.raises(InputError, match=r"^coupling=.*: (not a finite number|outside its range \[0, 10\])") as caught:
        grid.grid(STUDY, coupling=column)
    assert len(str(caught.value).splitlines()) == 1
