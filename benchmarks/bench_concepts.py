"""A training step of the concept study: eight ablations as rows of one call beside eight runs of their own."""

from collections.abc import Iterator
from typing import NamedTuple

import jax

from benchmarks import subjects
from benchmarks.flops import Rates
from benchmarks.harness import Pace, Row, paired
from gidd_jax.studies import concepts, language


class Sizes(NamedTuple):
    """Settings of the text both read, of the bottleneck, of a model without one (if any); rows; steps a call."""

    text: dict
    bottleneck: dict
    plain: dict | None
    rows: int
    steps: int


TEXT = dict(data="kjv", cut="file", tokenizer="characters", windows=True, similarity="none")
SCALES = {
    "full": Sizes(
        TEXT | dict(length=64, batch=16),
        dict(d_model=128, concepts=32, encoder_layers=6, decoder_layers=2, heads=4, hidden=256),
        dict(d_model=128, layers=8, heads=4),
        8,
        2,
    ),
    "quick": Sizes(
        TEXT | dict(length=32, batch=4, limit=120_000),
        dict(d_model=16, concepts=4, encoder_layers=1, decoder_layers=1, heads=2, hidden=32),
        None,
        4,
        2,
    ),
    "tiny": Sizes(
        TEXT | dict(length=16, batch=2, limit=120_000),
        dict(d_model=8, concepts=2, encoder_layers=1, decoder_layers=1, heads=2, hidden=8),
        dict(d_model=8, layers=1, heads=2),
        2,
        1,
    ),
}


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """All rows in one call, beside a loop of runs and beside masked diffusion models without a bottleneck."""
    subject = subjects.Subject(concepts, sizes.text | sizes.bottleneck)
    made = subjects.rows(subject, sizes.rows, jax.local_devices())
    loop, alone = subjects.separately(made, sizes.steps)
    each, n = made.place.rows, sizes.steps
    named = {"R": each, "width": subject.config.d_model, "concepts": subject.config.concepts}
    named |= {"B": subject.config.batch, "S": subject.config.length}
    together = subjects.advancing(made, n)
    ours, theirs, ratio = paired(together, loop, pace)
    work = subjects.work(made)
    yield Row("concepts/separate runs", named, theirs.each(n * each), alone, note="a jitted step a call", **work)
    note = f"{made.place.mesh.size} devices"
    yield Row("concepts/step", named, ours.each(n * each), made.advance, "separate runs", ratio, note=note, **work)
    if sizes.plain is None:
        return
    text = {name: value for name, value in sizes.text.items() if name not in ("similarity", "windows")}
    plain = subjects.rows(subjects.Subject(language, text | sizes.plain), sizes.rows, jax.local_devices())
    ours, theirs, ratio = paired(together, subjects.advancing(plain, n), pace)
    yield Row("concepts/no bottleneck", named, theirs.each(n * each), plain.advance, note="masked diffusion", **work)
    yield Row("concepts/step", named, ours.each(n * each), made.advance, "no bottleneck", ratio, note=note, **work)
