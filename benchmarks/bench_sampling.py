"""Boards and text completed: k-pass decoding and ancestral steps beside Python loops, with R and without it."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flops, subjects
from benchmarks.flops import Rates
from benchmarks.harness import Pace, Ratio, Row, compiled, paired
from gidd_jax import corruption, sampling, schedules
from gidd_jax.models import dit, two_head
from gidd_jax.studies import phase, phase_model, sudoku


class Decoding(NamedTuple):
    """A model, boards completed in one call, and boards the loop is timed on."""

    subject: subjects.Subject
    boards: int
    looped: int


class Sizes(NamedTuple):
    """Decodings by name; the text model, its vocabulary and length; steps; sequences."""

    decodings: dict[str, Decoding]
    vocab: int
    length: int
    width: int
    steps: tuple[int, ...]
    batches: tuple[int, ...]


TOWERS, POSTS = subjects.TOWERS, subjects.POSTS
SCALES = {
    "full": Sizes(
        {"towers 4x4": Decoding(TOWERS, 1000, 50), "posts 806k": Decoding(POSTS, 64, 4)}, 257, 64, 64, (16, 64), (1, 64)
    ),
    "quick": Sizes({"towers 4x4": Decoding(TOWERS.but(layers=1), 100, 4)}, 65, 32, 32, (8,), (4,)),
    "tiny": Sizes({"tiniest": Decoding(subjects.TINIEST, 3, 2)}, 5, 4, 8, (2,), (2,)),
}
ACCELERATOR = {"towers 4x4": Decoding(TOWERS, 1000, 50), "posts 806k": Decoding(POSTS, 1000, 10)}
"""The decodings of the full size on anything but a CPU."""


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """Boards, one cell a pass; then text, by ancestral steps and in an order."""
    accelerated = sizes is SCALES["full"] and jax.default_backend() != "cpu"
    for name, decoding in (ACCELERATOR if accelerated else sizes.decodings).items():
        yield from _decoded(name, decoding, pace)
    for steps in sizes.steps:
        for batch in sizes.batches:
            yield from _sampled(sizes, steps, batch, pace)
    for batch in sizes.batches:
        yield from _guided(sizes, batch, pace)


def _decoded(name: str, size: Decoding, pace: Pace) -> Iterator[Row]:
    config = size.subject.config
    shape, boards = subjects.model(config), subjects.host_data(sudoku, config)["question"]
    question = jnp.asarray(boards[np.arange(size.boards) % len(boards)], jnp.int32)
    params, key = two_head.init(jax.random.key(0), shape), jax.random.key(1)

    def heads(params: Any, given: jax.Array, z: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = two_head.apply(params, shape, z, given, t, two_head.Couplings())
        return out.jump[-1], out.holding[-1]

    def decoded(params: Any, question: jax.Array, key: jax.Array, passes: int | None = None) -> sampling.Walk:
        def block(key: jax.Array, question: jax.Array) -> sampling.Walk:
            predict = partial(heads, params, question > 0)
            return sampling.k_pass(predict, question, key, 1, shape.digits, passes=passes)

        return sampling.in_blocks(block, key, question, question, devices=jax.local_devices())

    one = question[:1]
    mesh = jax.sharding.Mesh(np.asarray(jax.local_devices()), "boards")
    everywhere = jax.device_put((params, question, key), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    whole = compiled(decoded, *everywhere)
    single = compiled(heads, params, one > 0, one, jnp.ones(1))
    call = partial(whole.call, *everywhere)
    begun, asked = np.array(jax.jit(partial(decoded, passes=0))(*everywhere).board), np.asarray(question)

    def loop() -> np.ndarray:
        """As one writes it first: board by board, a call of the compiled model a pass, and numpy between."""
        done = begun[: size.looped].copy()
        for board, given in zip(done, asked[: size.looped] > 0, strict=True):
            left, unknown = ~given, max(1, int((~given).sum()))
            while left.any():
                share = np.float32([left.sum() / unknown])
                jump, holding = map(np.asarray, single.call(params, given[None], board[None], share))
                cell = int(np.where(left, holding[0], -np.inf).argmax())
                board[cell], left[cell] = jump[0, cell].argmax() + 1, False
        return done

    same = (loop() == np.asarray(call().board[: size.looped])).mean()
    ours, theirs, ratio = paired(call, loop, pace)
    scale = size.boards / size.looped
    theirs, ratio = theirs.each(1 / scale), Ratio(*(x * scale for x in ratio))
    passes = jnp.sum(question == 0, axis=1)
    params_of = {"model": name, "boards": size.boards, "k": 1}
    work = {"items": size.boards, "unit": "boards"}
    note = f"{size.looped} of the boards timed and scaled up; {same:.1%} of their cells decoded as in one call"
    yield Row("sampling/loop over boards", params_of, theirs, single, note=note, **work)
    work["flops"] = int(passes.sum()) * flops.two_head_forward(shape, 1)
    note = f"{int(passes.min())} to {int(passes.max())} passes a board; over {jax.local_device_count()} devices"
    yield Row("sampling/k-pass", params_of, ours, whole, "loop over boards", ratio, note=note, **work)


def _sampled(sizes: Sizes, steps: int, batch: int, pace: Pace) -> Iterator[Row]:
    config = dit.DitConfig(sizes.vocab, 2, sizes.width, 4, max_length=sizes.length)
    params, key = dit.init(jax.random.key(0), config), jax.random.key(1)
    schedule = schedules.hybrid(sizes.vocab, sizes.vocab - 1, 0.2)
    times = sampling.time_grid(schedule, steps)
    noise = corruption.prior(jax.random.key(2), schedule, (batch, sizes.length), times[0])

    def sampled(params: Any, z: jax.Array, times: jax.Array, key: jax.Array) -> jax.Array:
        return sampling.ancestral(key, schedule, partial(dit.apply, params, config), z, times)

    def one_step(params: Any, z: jax.Array, t: jax.Array, s: jax.Array, key: jax.Array) -> jax.Array:
        probs = sampling.clean_probs(schedule, dit.apply(params, config, z, jnp.full(batch, t)), 1.0)
        return sampling.draw(key, sampling.reverse_probs(schedule, probs, z, t, s))

    whole = compiled(sampled, params, noise, times, key)
    step = compiled(one_step, params, noise, times[0], times[0], key)
    ends = [*times, jnp.zeros_like(times[0])]

    def loop() -> jax.Array:
        z = noise
        for i in range(steps):
            z = step.call(params, z, ends[i], ends[i + 1], jax.random.fold_in(key, i))
        return z

    ours, theirs, ratio = paired(lambda: whole.call(params, noise, times, key), loop, pace)
    named = {"steps": steps, "B": batch, "S": sizes.length, "V": sizes.vocab}
    work = {"items": batch * sizes.length, "unit": "tokens"}
    yield Row("sampling/loop over steps", named, theirs, step, note="a jitted step a call", **work)
    yield Row("sampling/ancestral", named, ours, whole, "loop over steps", ratio, **work)


def _guided(sizes: Sizes, batch: int, pace: Pace) -> Iterator[Row]:
    """Masks filled in the order of confidence, with the phase core read at every call and without; and as R guides."""
    config = phase.Config(data="markov", tokens=sizes.vocab - 1, length=sizes.length, d_model=sizes.width)
    data, hyper, steps = {"vocabulary": np.zeros((sizes.vocab, 0))}, phase.Hyper(), sizes.steps[0]
    params = phase.init(jax.random.key(0), hyper, config, data).params
    keys = jax.random.split(jax.random.key(1), batch)
    blank = jnp.full((batch, sizes.length), sizes.vocab - 1)

    def sampled(reads: bool, params: Any, keys: jax.Array, arm: sampling.Arm) -> sampling.Guided:
        def guess(z: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array]:
            if reads:
                seen = phase_model.see(params, hyper, config, data, z)
                return seen.logits, seen.r
            logits = dit.apply(params["dit"], phase_model.shape(config, data), z, 0.0)
            return logits[..., : sizes.vocab], jnp.zeros(z.shape)

        return sampling.guided(keys, guess, blank, steps, sizes.vocab - 1, arm)

    plain, guided = (jax.tree.map(jnp.float32, sampling.ARMS[name]) for name in ("low_confidence", "guided"))
    unread, read = (compiled(partial(sampled, reads), params, keys, plain) for reads in (False, True))
    base = partial(unread.call, params, keys, plain)
    named = {"steps": steps, "B": batch, "S": sizes.length, "V": sizes.vocab, "width": sizes.width}
    work = {"items": batch * sizes.length, "unit": "tokens"}
    ours, theirs, ratio = paired(partial(read.call, params, keys, plain), base, pace)
    yield Row("sampling/low confidence", named, theirs, unread, note="no phase core", **work)
    note = (
        f"R of {config.oscillators} oscillators, {config.core_steps} steps, at every call; the same program as R-guided"
    )
    yield Row("sampling/low confidence, R read", named, ours, read, "low confidence", ratio, note=note, **work)
    ours, _, ratio = paired(partial(read.call, params, keys, guided), base, pace)
    yield Row("sampling/R-guided", named, ours, read, "low confidence", ratio, note=note, **work)
