"""R models at once, one call for all, beside a Python loop of R separate runs; then the same over several devices."""

from collections.abc import Iterator
from typing import NamedTuple

import jax

from benchmarks import subjects
from benchmarks.flops import Rates
from benchmarks.harness import Pace, Row, Sample, paired, sample

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
FLAT = 1.1
"""The knee is the least R whose time a replica and step is within this factor of the best."""


class Size(NamedTuple):
    """What is trained; numbers of replicas, those of them timed beside separate runs, and replica-steps a call."""

    subject: subjects.Subject
    counts: tuple[int, ...]
    beside: tuple[int, ...]
    steps: int
    widths: tuple[int, ...] = (0,)


class Sizes(NamedTuple):
    """Models on one device; and rows a device, where there are several."""

    models: dict[str, Size]
    spread: Size


TOWERS, POSTS = subjects.TOWERS, subjects.POSTS
SCALES = {
    "full": Sizes(
        {
            "towers 4x4": Size(TOWERS, (1, 4, 16, 64, 256), (1, 4, 16, 64), 128),
            "posts 806k": Size(POSTS.but(dropout=0.0), (1, 4, 16), (1,), 16),
        },
        Size(TOWERS, (32,), (), 256),
    ),
    "quick": Sizes({"spinners": Size(subjects.SPINNERS, (1, 16), (16,), 32)}, Size(subjects.SPINNERS, (2,), (), 8)),
    "tiny": Sizes({"spinners": Size(subjects.SPINNERS, (1, 3), (3,), 2)}, Size(subjects.SPINNERS, (2,), (), 4)),
}
ACCELERATOR = {
    "towers 4x4": Size(TOWERS, (1, 4, 16, 64, 256), (1, 16, 64), 256, (1, 32, 256)),
    "posts 806k": Size(POSTS.but(dropout=0.0), (1, 4, 16, 64, 256), (1, 16), 64, (32,)),
    "posts 806k bf16": Size(POSTS.but(dropout=0.0, dtype="bfloat16"), (1, 4, 16, 64, 256), (1, 16), 64, (32,)),
}
"""The full size on anything but a CPU, where R fills the chip."""


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """For each model and block width the time a replica and step against R, and where it stops to fall."""
    full = sizes is SCALES["full"] and jax.default_backend() != "cpu"
    for name, size in (ACCELERATOR if full else sizes.models).items():
        for width in size.widths:
            yield from _against_count(name, size, width, pace)
    yield from _over_devices(sizes.spread, pace)


def _against_count(name: str, size: Size, width: int, pace: Pace) -> Iterator[Row]:
    taken: dict[int, Sample] = {}
    for count in size.counts:
        made = subjects.rows(size.subject.but(width=width), count, jax.local_devices())
        # As many steps a call as make the call long, whatever R.
        steps = max(1, size.steps // count)
        work = subjects.work(made)
        params = {"model": name, "R": count, "W": made.config.width, "devices": made.place.mesh.size}
        ours, against, ratio = subjects.advancing(made, steps), "", None
        if count in size.beside:
            loop, step = subjects.separately(made, steps)
            first, second, ratio = paired(ours, loop, pace)
            against = "separate runs"
            note = "a jitted step a call, in a Python loop over the runs; seconds of one replica and step"
            yield Row("replicas/separate runs", params, second.each(steps * count), step, note=note, **work)
        else:
            first = sample(ours, pace)
        taken[count] = first.each(steps * count)
        note = "seconds of one replica and step, all of them in one call"
        yield Row("replicas/one call", params, taken[count], made.advance, against, ratio, note=note, **work)
    best = min(each.median for each in taken.values())
    knee = min(count for count, each in taken.items() if each.median <= FLAT * best)
    spread = max(each.median for each in taken.values()) / best
    note = (
        f"knee: from R = {knee} on within {FLAT - 1:.0%} of the best; the slowest R takes {spread:.3g} times the best"
    )
    yield Row("replicas/knee", {"model": name, "W": made.config.width, "R": knee}, note=note)


def _over_devices(size: Size, pace: Pace) -> Iterator[Row]:
    """The same rows a device on 1, 2, 4, ... devices: no collective, and as long as cores last no longer a step."""
    devices = jax.local_devices()
    used = [n for n in (1, 2, 4, 8, 16) if n <= len(devices)]
    for count in size.counts:
        for number in used:
            made = subjects.rows(size.subject, count * number, devices[:number])
            steps = max(1, size.steps // count)
            text = made.advance.call.as_text()
            found = sum(text.count(f" {collective}") for collective in COLLECTIVES)
            taken = sample(subjects.advancing(made, steps), pace).each(steps)
            params = {"devices": number, "rows a device": count}
            note = f"seconds of a step of all rows; {found} collectives in the compiled program"
            if len(devices) == 1:
                note += "; one device here (--host-devices N splits a CPU)"
            yield Row("replicas/devices", params, taken, made.advance, note=note, **subjects.work(made, number * count))
