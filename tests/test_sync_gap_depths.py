"""Where the gap arises: profiles whose width is known, and tables of models whose rule is."""

import numpy as np
import pandas as pd
import pytest

from experiments import sync_gap_depths as depths


def risen(layers, width):
    """A ratio that is 1, then rises on a line over the last 2 ``width`` layers to 1.6: by half at ``width``."""
    back = np.arange(layers)[::-1]
    return 1 + 0.6 * np.clip(1 - back / (2 * width), 0, None)


def table(models):
    """What experiments.sync_gap writes, with lines of other kinds, arms, measures and steps that must not be read."""
    rows = []
    for layers, seed, ratio in models:
        for layer, value in enumerate(ratio, 1):
            own = dict(layers=layers, kind="no class", seed=seed, arm="g = 0", measure="held_out", layer=layer)
            rows += [own | dict(mode=-1, step=49, value=value), own | dict(mode=-1, step=45, value=-1)]
            for other in (dict(kind="class 3"), dict(arm="g = 0.9"), dict(measure="in_sample")):
                rows.append(own | other | dict(mode=-1, step=49, value=-2))
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


@pytest.mark.parametrize(("layers", "width"), [(8, 1.5), (12, 2.25), (24, 3.0), (24, 0.5)])
def test_the_width_of_a_known_rise(layers, width):
    (found,) = depths.profiles(table([(layers, 4, risen(layers, width))]))
    assert (found.layers, found.seed) == (layers, 4)
    assert found.width == pytest.approx(width)


def test_the_last_crossing_counts_and_a_flat_profile_has_none():
    bumpy = risen(12, 2.0)
    bumpy[2] = 1.5
    assert depths.half_width(bumpy) < 2.0 < 9  # the bump lifts the first half's mean, the crossing stays at the end
    assert np.isnan(depths.half_width(np.linspace(1, 1.1, 12)))


@pytest.mark.parametrize(
    ("width", "word"),
    [
        (lambda layers: 0.2 * layers, "a share of the depth"),
        (lambda layers: 1.5, "a number of layers"),
        (lambda layers: 0.9 * layers**0.5, "undecided"),
    ],
)
def test_shares_and_numbers_are_told_apart(width, word):
    rng = np.random.default_rng(0)
    models = [(n, seed, risen(n, width(n) * np.exp(0.05 * rng.normal()))) for n in (8, 12, 24) for seed in range(3)]
    found = depths.profiles(table(models))
    over = depths.slope(found)
    assert over.word == word, over
    assert over.low < over.b < over.high
    text = depths.told(found, over)
    assert len(text.splitlines()) == 1 + 9 + 1 and text.endswith(word)


def test_of_one_depth_nothing_is_decided_and_the_figure_has_every_model():
    found = depths.profiles(table([(8, seed, risen(8, 1 + seed / 4)) for seed in range(3)]))
    assert depths.slope(found).word == "undecided"
    left, right = depths.drawn(found).axes
    assert len(left.get_lines()) == len(right.get_lines()) == 3 + 1
    assert "layers" in left.get_xlabel() and "depth" in right.get_xlabel() and left.get_ylabel()
    assert "3 seeds" in left.get_legend().get_texts()[0].get_text()
