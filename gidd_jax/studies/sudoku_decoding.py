"""Boards completed by a replica: by the posts' decoder, by samplers that may revise, and what the boards are worth."""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax import sampling
from gidd_jax.data.sudoku.board import Box, units
from gidd_jax.models import two_head
from gidd_jax.studies import sudoku_samplers
from gidd_jax.studies.sudoku_model import noise, shape
from gidd_jax.studies.sudoku_settings import Config
from gidd_jax.types import Mean, Metrics, PRNGKey, Tree


def complete(
    key: PRNGKey,
    params: Tree,
    config: Config,
    data: Tree,
    question: jax.Array,
    dials: two_head.Couplings,
    sampler: str = "k-pass",
    cells: int | jax.Array | None = None,
    swaps: sudoku_samplers.Swaps = sudoku_samplers.Swaps(),  # noqa: B008 (a tuple)
    answer: jax.Array | None = None,
    history: int = 0,
) -> sampling.Walk:
    """Boards [B,S] completed by a sampler (``sudoku_samplers``), as the config says; consumes ``key``.

    ``cells`` a step: if not given, the config's, or as many as its steps need to visit every cell. A model that sees t
    is told what the sampler has in its place. ``answer`` [B,S] is what oracles read; without it there are none.
    """
    model = shape(config, data)
    steps = config.sampler_steps or model.cells
    if cells is None:
        cells = config.sampler_cells or -(-model.cells // steps)

    def of(key: PRNGKey, boards: tuple[jax.Array, jax.Array | None]) -> sampling.Walk:
        question, answer = boards

        def heads(z: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
            out = two_head.apply(params, model, z, question > 0, t, dials)
            return out.jump[-1], out.holding[-1]

        task = sudoku_samplers.Task(
            predict=heads,
            question=question,
            schedule=noise(config, model.digits),
            digits=model.digits,
            mask_id=model.mask_id if config.noise == "masked" else None,
            select=config.decode_by,
            wrong=config.label == "wrong",
            steps=steps,
            cells=cells,
            temperature=config.sampler_temperature,
            spread=config.sampler_spread,
            history=history,
        )
        return sudoku_samplers.run(sampler, task, key, swaps, answer)

    question, answer = jax.tree.map(lambda x: x.astype(jnp.int32), (question, answer))
    return sampling.in_blocks(of, key, (question, answer), question)


def decoded(
    key: PRNGKey,
    params: Tree,
    config: Config,
    data: Tree,
    question: jax.Array,
    answer: jax.Array,
    dials: two_head.Couplings,
) -> Metrics:
    """Puzzle and cell accuracy, mean violations: ``@k`` for each k of ``config.decode``, and ``@sampler``.

    A sampler also tells the model calls a board took. All start from one key: the same digits, and the same
    draws with and without an oracle. Consumes ``key``.
    """
    boards, passes = (params, config, data, question, dials), sorted({min(k, question.shape[1]) for k in config.decode})

    def k_pass(k: jax.Array) -> dict[str, Mean]:
        return _worth(complete(jax.random.fold_in(key, k), *boards, cells=k), question, answer)

    def swapped(sampler: str, swaps: sudoku_samplers.Swaps) -> dict[str, Mean]:
        walked = complete(jax.random.fold_in(key, 0), *boards, sampler, swaps=swaps, answer=answer)
        return _worth(walked, question, answer) | {"model_calls": Mean(walked.calls.sum(), jnp.float32(len(answer)))}

    # One compiled decoder serves every k, and one sampler all its oracles.
    metrics = _named(map(str, passes), jax.lax.map(k_pass, jnp.asarray(passes)))
    asked = [sudoku_samplers.parse(name) for name in config.samplers]
    for sampler in dict.fromkeys(name for name, _ in asked):
        names = [full for full, (name, _) in zip(config.samplers, asked, strict=True) if name == sampler]
        swaps = jax.tree.map(lambda *each: jnp.asarray(each), *(each for name, each in asked if name == sampler))
        metrics |= _named(names, jax.lax.map(partial(swapped, sampler), swaps))
    return metrics


def _named(variants: Iterable[str], found: dict[str, Mean]) -> Metrics:
    """Means with an axis of variants -> one metric a variant."""
    return {
        f"{name}@{variant}": Mean(total[i], weight[i])
        for i, variant in enumerate(variants)
        for name, (total, weight) in found.items()
    }


def _worth(walked: sampling.Walk, question: jax.Array, answer: jax.Array) -> dict[str, Mean]:
    unknown, right, boards = question == 0, walked.board == answer, jnp.float32(len(answer))
    return {
        "cell_accuracy": Mean((unknown & right).sum(), unknown.sum()),
        "puzzle_accuracy": Mean(right.all(axis=1).sum(), boards),
        "violations": Mean(violations(walked.board).sum(), boards),
    }


def violations(board: jax.Array) -> jax.Array:
    """Rows, columns and boxes that are not a permutation of the digits, [B,S] -> [B]: 0 to 27 on 9x9 boards."""
    box = Box.of(board.shape[1])
    in_unit = board[:, np.asarray(units(box))]
    present = (in_unit[..., None] == jnp.arange(1, box.size + 1).reshape(1, 1, 1, -1)).any(axis=2)
    return (~present.all(axis=-1)).sum(axis=-1)
