"""A table of boards, and its order by tier."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from gidd_jax.data.sudoku.board import Box
from gidd_jax.errors import InputError

UNRATED = -1
"""The rating of a board that came without one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Boards:
    """N puzzles with their answers.

    ``question`` uint8 [N, cells] (0 blank); ``answer`` uint8 [N, cells]; ``rating`` int32 [N] (-1 unknown);
    ``code`` int16 [N], an index into ``sources`` (names, ascending); ``skipped``, bad rows dropped while reading.
    """

    question: np.ndarray
    answer: np.ndarray
    rating: np.ndarray
    code: np.ndarray
    sources: tuple[str, ...]
    box: Box
    name: str
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.question)

    def __getitem__(self, index: np.ndarray | slice) -> "Boards":
        """The boards at an index array, a mask or a slice."""
        rows = {field: getattr(self, field)[index] for field in ("question", "answer", "rating", "code")}
        return dataclasses.replace(self, **rows)

    @functools.cached_property
    def clues(self) -> np.ndarray:
        """Given cells of each board: int16 [N]."""
        return np.count_nonzero(self.question, axis=1).astype(np.int16)

    @functools.cached_property
    def source(self) -> np.ndarray:
        """The name of each board's source: str [N]."""
        return np.array(self.sources, dtype=str)[self.code]

    def fingerprint(self) -> str:
        """sha256 (64 hexadecimal digits) over box, questions and answers, in their order."""
        digest = hashlib.sha256(f"{self.box} {len(self)}".encode())
        digest.update(np.ascontiguousarray(self.question))
        digest.update(np.ascontiguousarray(self.answer))
        return digest.hexdigest()


def tabulate(
    question: np.ndarray,
    answer: np.ndarray,
    source: np.ndarray | str,
    box: Box,
    name: str,
    rating: np.ndarray | None = None,
) -> Boards:
    """Boards from arrays, ``source`` being one name for all or a name for each row; ratings unknown if not given."""
    names, codes = np.unique(np.broadcast_to(np.asarray(source, dtype=str), len(question)), return_inverse=True)
    rating = np.full(len(question), UNRATED) if rating is None else rating
    return Boards(
        question=question.astype(np.uint8),
        answer=answer.astype(np.uint8),
        rating=np.asarray(rating, np.int32),
        code=codes.astype(np.int16),
        sources=tuple(names.tolist()),
        box=box,
        name=name,
    )


def join(blocks: Sequence[Boards], name: str, skipped: int = 0) -> Boards:
    """Boards of one box, one after the other, under one ascending list of the source names that occur."""
    occurring = {block.sources[code] for block in blocks for code in np.unique(block.code)}
    sources = tuple(sorted(occurring))
    codes = []
    for block in blocks:
        lookup = np.array([sources.index(each) if each in occurring else 0 for each in block.sources], np.int16)
        codes.append(lookup[block.code])
    rows = {key: np.concatenate([getattr(block, key) for block in blocks]) for key in ("question", "answer", "rating")}
    return Boards(**rows, code=np.concatenate(codes), sources=sources, box=blocks[0].box, name=name, skipped=skipped)


def tiers(boards: Boards) -> tuple[tuple[str, ...], Boards, np.ndarray, np.ndarray]:
    """Order boards by source, so that every tier is one range of rows.

    Returns names, boards in tier order (stable), start [T] and count [T]; tier 0 is ``"all"``, then each source that
    occurs, ascending.
    """
    order = np.argsort(boards.code, kind="stable")
    codes, starts, counts = np.unique(boards.code[order], return_index=True, return_counts=True)
    names = ("all", *(boards.sources[code] for code in codes))
    return names, boards[order], np.array([0, *starts]), np.array([len(boards), *counts])


def by_rating(boards: Boards, low: int, high: int) -> Boards:
    """Two tiers, as sources ``rating_tiers(low, high)``: boards rated ``low`` or less, and those above ``high``.

    Boards between them and boards without a rating are left out. Raises ``InputError`` where no board has a rating, and
    for a tier without boards.
    """
    rated = boards.rating != UNRATED
    if not rated.any():
        raise InputError(f"{boards.name}: no board has a rating; tiers by rating need a column rating")
    names = rating_tiers(low, high)
    easy, hard = rated & (boards.rating <= low), rated & (boards.rating > high)
    for name, tier in zip(names, (easy, hard), strict=True):
        if not tier.any():
            known = boards.rating[rated]
            raise InputError(f"{boards.name}: no board is {name}; its ratings run from {known.min()} to {known.max()}")
    code = np.where(easy, 0, 1).astype(np.int16)
    return dataclasses.replace(boards, code=code, sources=names)[easy | hard]


def rating_tiers(low: int, high: int) -> tuple[str, str]:
    """Names of the tiers of ``by_rating``, ascending."""
    return f"rated {low} or less", f"rated above {high}"
