"""Plain text in columns: a name folded onto two lines, its unit, the cells, all of one width."""

import textwrap
from collections.abc import Callable


def column(name: str, unit: str, cells: list[str], justify: Callable = str.rjust) -> list[str]:
    """The name folded onto two lines, its unit, the cells: all of one width."""
    folded = textwrap.wrap(name, max(12, 2 * len(name) // 3 + 1))
    return justified([*[""] * (2 - len(folded)), *folded, unit, *cells], justify)


def justified(cells: list[str], justify: Callable = str.rjust) -> list[str]:
    """The cells padded to the widest of them."""
    widest = max(map(len, cells))
    return [justify(cell, widest) for cell in cells]


def blocks(keys: list[list[str]], columns: list[list[str]], width: int = 120) -> list[str]:
    """Columns side by side, the keys repeated in front, broken into as few blocks as the width allows."""
    parts, room = [], 0
    for cells in columns:
        needed = len(cells[0]) + 2
        if needed > room:
            parts.append(list(keys))
            room = width - sum(len(key[0]) + 2 for key in keys) + 2
        parts[-1].append(cells)
        room -= needed
    return ["\n".join("  ".join(cells) for cells in zip(*part, strict=True)) for part in parts]
