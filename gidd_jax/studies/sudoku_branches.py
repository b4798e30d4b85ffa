"""Does the holding head tell a wrong branch of the search, where no unit is violated yet, from the truth?

A board stands as a search leaves it: given cells, cells that singles and one wrong guess filled, open cells. Beside it
stands the same board with as many of its filled cells wrong, but random ones with random digits. In both an open cell
shows one same random digit, as a cell that was resampled does in training.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax.data.sudoku.board import Box
from gidd_jax.data.sudoku.wrong import wrong_branch
from gidd_jax.errors import InputError
from gidd_jax.losses import Noised
from gidd_jax.models.two_head import Heads
from gidd_jax.types import Mean, Metrics, PRNGKey, Tree

ARMS = ("branch", "random")


def prepare(data: Tree, boards: int) -> Tree:
    """Boards at even distances through every held-out tier -> question, answer and each arm, uint8 [split,tier,N,S]."""
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


def _arms(question: np.ndarray, answer: np.ndarray) -> dict[str, np.ndarray]:
    branch, random = question.copy(), question.copy()
    size = Box.of(question.shape[1]).size
    for board in range(len(question)):
        try:
            branch[board], wrong = wrong_branch(question[board], answer[board], seed=board)
        except InputError:
            continue  # nothing can be guessed: a board without a wrong cell makes no pair
        filled = np.flatnonzero((branch[board] > 0) & (question[board] == 0))
        rng = np.random.default_rng(board)
        chosen = rng.choice(filled, wrong.sum(), replace=False)
        random[board, filled] = answer[board, filled]
        random[board, chosen] = (answer[board, chosen] - 1 + rng.integers(1, size, len(chosen))) % size + 1
    return {"question": question, "answer": answer, "branch": branch, "random": random}


def asked(key: PRNGKey, predict: Callable[[Noised], Heads], boards: Tree) -> Metrics:
    """``auroc_branch`` and ``auroc_random``: how often a wrong filled cell has a higher holding score than a right one.

    Over all pairs of such cells of one board, ties counting one half; consumes ``key``.
    """
    question, answer = (boards[name].astype(jnp.int32) for name in ("question", "answer"))
    digits = Box.of(question.shape[1]).size
    open_cells = jax.random.randint(key, question.shape, 1, digits + 1)
    found = {}
    for arm in ARMS:
        filled = boards[arm].astype(jnp.int32)
        z, given = jnp.where(filled > 0, filled, open_cells), question > 0
        wrong, right = (filled > 0) & (filled != answer), (filled > 0) & (filled == answer) & ~given
        noise = (filled == 0) | wrong
        t = noise.sum(axis=1) / jnp.maximum((~given).sum(axis=1), 1)
        score = predict(Noised(answer - 1, z - 1, given, noise, noise, t)).holding[-1]
        gap = score[:, :, None] - score[:, None, :]
        pairs = wrong[:, :, None] & right[:, None, :]
        found[f"auroc_{arm}"] = Mean(jnp.where(pairs, (jnp.sign(gap) + 1) / 2, 0.0).sum(), pairs.sum(dtype=jnp.float32))
    return found
