"""Documents with what else is known of them: the same thing said otherwise, and a label."""

import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from gidd_jax.data.text import offline, read, verses
from gidd_jax.errors import InputError

LEADS = "wiki-leads"


class Documents(NamedTuple):
    """``texts``, and one by one their ``others`` (another view of the same) and ``labels``, or None."""

    texts: list[str]
    others: list[str] | None
    labels: list[str] | None

    def taken(self, which: np.ndarray) -> "Documents":
        """Those of bool [N] that are true."""
        return Documents(*(part and [value for value, take in zip(part, which, strict=True) if take] for part in self))


def gather(
    source: str | pathlib.Path,
    cut: str = "file",
    column: str = "text",
    other: str | None = None,
    label: str | None = None,
    split: str = "train",
    subset: str | None = None,
    limit: int | None = None,
) -> Documents:
    """The documents of a source, without blanks around them, until they have ``limit`` characters; see ``views``."""
    name = str(source)
    if name == LEADS or verses.is_source(name):
        if other or label or split != "train":
            raise InputError(f"{name}: has views of its own and one split; name no column for the other or the label")
        has_other, has_label = True, name == LEADS
        rows = _leads() if has_label else _verses(name)
    else:
        has_other, has_label = bool(other), bool(label)
        rows = read.rows(name, cut, [each for each in (column, other, label) if each], split, subset)
    kept, room = [], limit
    for row in rows:
        row = [value.strip() for value in row]
        if not row[0] or (has_other and not row[1]):
            continue
        kept.append(row)
        room = None if room is None else room - len(row[0])
        if room is not None and room <= 0:
            break
    if not kept:
        raise InputError(f"{name}: it holds no text")
    values = [list(part) for part in zip(*kept, strict=True)]
    return Documents(values[0], values[1] if has_other else None, values[-1] if has_label else None)


def _leads() -> Iterable[tuple[str, str, str]]:
    return (
        (lead["extract"], ". ".join(filter(None, (lead["title"], lead["description"]))), lead["topic"])
        for lead in offline.leads()
    )


def _verses(name: str) -> Iterable[tuple[str, str]]:
    _, james, english = verses.pairs(name)
    return zip(james, english, strict=True)
