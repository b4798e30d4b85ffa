"""Does the holding head tell a wrong branch of the search, where no unit is violated yet, from the truth?

A board stands as a search leaves it: given cells, cells that singles and one wrong guess filled, open cells. Beside it
stands the same board with as many of its filled cells wrong, but random ones with random digits. In both an open cell
shows one same random digit, as a cell that was resampled does in training. By t the same boards stand at noise levels
spread over (0,1): nearer the guess or further into the search.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax.data.sudoku.board import Box, peers
from gidd_jax.data.sudoku.wrong import wrong_branch
from gidd_jax.errors import InputError
from gidd_jax.losses import Noised, by_time
from gidd_jax.models.two_head import Heads
from gidd_jax.types import Mean, Metrics, PRNGKey, Tree

ARMS = ("branch", "random")
GOLDEN = 0.6180339887498949
"""Steps of it, modulo 1, are even over any stretch of boards."""


def prepare(data: Tree, boards: int) -> Tree:
    """Boards at even distances through every held-out tier -> question, answer and each arm, uint8 [split,tier,N,S].

    An arm is there twice: as the search leaves it, and (``branch/t``) at noise levels spread evenly over the boards.
    """
    made: dict[tuple[int, int], Tree] = {}
    for start, count in {*zip(data["start"][1:].ravel(), data["count"][1:].ravel(), strict=True)}:
        at = start + np.arange(boards) * count // boards
        at = np.minimum(at, len(data["question"]) - 1)  # of a tier without boards, which nothing reads
        made[start, count] = _arms(data["question"][at], data["answer"][at])
    tiers = [
        [made[place] for place in zip(*each, strict=True)]
        for each in zip(data["start"][1:], data["count"][1:], strict=True)
    ]
    return {name: np.stack([[tier[name] for tier in split] for split in tiers]) for name in tiers[0][0]}


def _arms(question: np.ndarray, answer: np.ndarray) -> Tree:
    left = question.copy()
    for board in range(len(question)):
        try:
            left[board], _ = wrong_branch(question[board], answer[board], seed=board)
        except InputError:
            continue  # nothing can be guessed: a board without a wrong cell makes no pair
    arms = {"question": question, "answer": answer}
    for axis, branch in (("", left), ("/t", at_levels(question, answer, left))):
        arms |= {f"branch{axis}": branch, f"random{axis}": _random(question, answer, branch)}
    return arms


def at_levels(question: np.ndarray, answer: np.ndarray, branch: np.ndarray) -> np.ndarray:
    """Boards of a wrong branch, uint8 [N,S], at shares of noise t spread evenly over (0,1), board after board.

    A cell is noise if it is open or wrong. Towards more noise, filled cells are opened again, wrong and right ones
    alike; towards less, open cells are filled with the truth where this violates no unit: the wrong ones stand, so that
    the t that is reached stays above their share.
    """
    rng, unknown = np.random.default_rng(0), question == 0
    right = unknown & (branch == answer)
    clash = (branch[:, peers(Box.of(question.shape[1]))] == answer[:, :, None]).any(axis=2)
    fillable = (branch == 0) & ~clash
    t = (np.arange(len(question)) * GOLDEN + 0.5) % 1
    wanted = (1 - t) * unknown.sum(axis=1)  # right cells, by board
    kept = wanted / np.maximum(right.sum(axis=1), 1)
    filled = (wanted - right.sum(axis=1)) / np.maximum(fillable.sum(axis=1), 1)
    draw = rng.random(question.shape)
    opened = np.where(unknown & (branch > 0) & (draw > kept[:, None]), 0, branch)
    return np.where(fillable & (draw < filled[:, None]), answer, opened).astype(branch.dtype)


def _random(question: np.ndarray, answer: np.ndarray, branch: np.ndarray) -> np.ndarray:
    """The same cells filled, as many of them wrong, but random ones."""
    random, size = question.copy(), Box.of(question.shape[1]).size
    for board in range(len(question)):
        filled = np.flatnonzero((branch[board] > 0) & (question[board] == 0))
        wrong = (branch[board, filled] != answer[board, filled]).sum()
        rng = np.random.default_rng(board)
        chosen = rng.choice(filled, wrong, replace=False)
        random[board, filled] = answer[board, filled]
        random[board, chosen] = (answer[board, chosen] - 1 + rng.integers(1, size, wrong)) % size + 1
    return random


def asked(key: PRNGKey, predict: Callable[[Noised], Heads], boards: Tree) -> Metrics:
    """``auroc_branch`` and ``auroc_random``: how often a wrong filled cell has a higher holding score than a right one.

    Over all pairs of such cells of one board, ties counting one half: of boards as the search leaves them, and by t bin
    (``auroc_branch/t``) of the same boards at all noise levels. Consumes ``key``.
    """
    question, answer = (boards[name].astype(jnp.int32) for name in ("question", "answer"))
    digits = Box.of(question.shape[1]).size
    open_cells = jax.random.randint(key, question.shape, 1, digits + 1)
    given = question > 0

    def judged(filled: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Of each board of an arm: pairs in the right order, pairs, and t."""
        z = jnp.where(filled > 0, filled, open_cells)
        wrong, right = (filled > 0) & (filled != answer), (filled > 0) & (filled == answer) & ~given
        noise = (filled == 0) | wrong
        t = noise.sum(axis=1) / jnp.maximum((~given).sum(axis=1), 1)
        score = predict(Noised(answer - 1, z - 1, given, noise, noise, t)).holding[-1]
        gap = score[:, :, None] - score[:, None, :]
        pairs = wrong[:, :, None] & right[:, None, :]
        ordered = jnp.where(pairs, (jnp.sign(gap) + 1) / 2, 0.0).sum(axis=(1, 2))
        return ordered, pairs.sum(axis=(1, 2), dtype=jnp.float32), t

    found, names = {}, [f"{arm}{axis}" for arm in ARMS for axis in ("", "/t")]
    all_judged = jax.lax.map(judged, jnp.stack([boards[name].astype(jnp.int32) for name in names]))
    for name, ordered, count, t in zip(names, *all_judged, strict=True):
        if name in ARMS:
            found[f"auroc_{name}"] = Mean(ordered.sum(), count.sum())
        else:
            total, weight = (by_time(each[:, None], jnp.ones((len(t), 1), bool), t).total for each in (ordered, count))
            found[f"auroc_{name}"] = Mean(total, weight)
    return found
