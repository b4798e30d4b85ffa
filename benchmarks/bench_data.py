"""What stands before the model: noising tokens, and drawing a batch on the device beside feeding it from the host."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import subjects
from benchmarks.flops import Rates, Work
from benchmarks.harness import Pace, Row, compiled, paired, roofline, sample
from gidd_jax import corruption, schedules
from gidd_jax.studies import sudoku, sudoku_model


class Sizes(NamedTuple):
    """Batches of tokens, [B,S] each; vocabulary; boards a batch and a name of them."""

    shapes: tuple[tuple[int, int], ...]
    vocab: int
    batch: int
    boards: str


SCALES = {
    "full": Sizes(((64, 81), (64, 512), (256, 1024)), 50_304, 64, "9x9"),
    "quick": Sizes(((64, 81),), 50_304, 64, "4x4"),
    "tiny": Sizes(((2, 8),), 16, 2, "4x4"),
}


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """Noise of each kind against the bytes it must move; then batches of boards."""
    for shape in sizes.shapes:
        yield from _corrupted(shape, sizes.vocab, pace, rates)
    yield from _fed(sizes, pace)


def _corrupted(shape: tuple[int, int], vocab: int, pace: Pace, rates: Rates) -> Iterator[Row]:
    kinds = {
        "masked": schedules.linear(vocab, vocab - 1, 0.0),
        "hybrid": schedules.hybrid(vocab, vocab - 1, 0.2),
        "log-SNR": schedules.log_snr(vocab, vocab - 1),
    }
    key, x = jax.random.key(0), jax.random.randint(jax.random.key(1), shape, 0, vocab - 1)
    for name, schedule in kinds.items():
        t = jnp.asarray(schedule.time_of(jnp.linspace(0.1, 0.9, shape[0])))
        made = compiled(lambda key, x, t, schedule=schedule: corruption.corrupt(key, schedule, x, t), key, x, t)
        taken = sample(partial(made.call, key, x, t), pace)
        # Tokens read and written, and a byte for what was resampled.
        floor = roofline(Work(0, 2 * x.nbytes + x.size), rates)
        params = {"noise": name, "B": shape[0], "S": shape[1]}
        yield Row("data/corrupt", params, taken, made, floor_s=floor, items=x.size, unit="tokens")


def _fed(sizes: Sizes, pace: Pace) -> Iterator[Row]:
    """Both give a noised batch on the device; one draws its boards there, the other on the host, and sends them."""
    config = sudoku.Config(data=sizes.boards, batch=sizes.batch, augment=False)
    host = {name: value for name, value in subjects.host_data(sudoku, config).items() if name != "augment"}
    on_device, hyper, step = jax.device_put(host), sudoku.Hyper(), jnp.int32(0)
    generator, count = np.random.default_rng(0), int(host["count"][0, 0])

    def drawn(key: jax.Array, data: dict) -> sudoku_model.Noised:
        return sudoku.batch(key, hyper, config, data, step)

    def noised(key: jax.Array, question: jax.Array, answer: jax.Array) -> sudoku_model.Noised:
        time_key, noise_key = jax.random.split(key)
        t = corruption.uniform_times(time_key, config.batch, False, 1 / question.shape[1])
        return sudoku_model.noised(noise_key, config, question, answer, t)

    key = jax.random.key(0)
    whole = compiled(drawn, key, on_device)
    rest = compiled(noised, key, *(host[name][: config.batch] for name in ("question", "answer")))

    def feed() -> sudoku_model.Noised:
        index = generator.integers(0, count, config.batch)
        return rest.call(key, *jax.device_put((host["question"][index], host["answer"][index])))

    ours, theirs, ratio = paired(lambda: whole.call(key, on_device), feed, pace)
    params = {"boards": sizes.boards, "B": config.batch}
    sent = 2 * config.batch * host["question"].shape[1]
    note = f"{sent} bytes a step from the host; on the device none"
    yield Row("data/fed from the host", params, theirs, rest, note=note, items=config.batch, unit="boards")
    yield Row(
        "data/drawn on the device", params, ours, whole, "from the host", ratio, items=config.batch, unit="boards"
    )
