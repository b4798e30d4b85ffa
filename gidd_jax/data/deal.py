"""Shares of a data set dealt out by hash: what is alike stays together, whatever else there is and in any order."""

import numpy as np

FEW = 1000
"""Below so many different hashes the shares are cut by rank, since by threshold they would be too uneven."""


def places(hashes: np.ndarray, seed: int = 0) -> tuple[np.ndarray, int]:
    """A place in (0, 1) for each hash (uint64 [N] -> float64 [N]), and how many hashes are different.

    Equal hashes share a place. It depends on ``seed`` and the hash alone from 1000 different hashes up; below that
    the mixed hashes are ranked, so that every share of (0, 1) gets its part.
    """
    values, back = np.unique(mix(hashes ^ mix(np.array([seed % 2**64], np.uint64))), return_inverse=True)
    if len(values) < FEW:
        place = (np.arange(len(values)) + 0.5) / max(len(values), 1)
    else:
        place = values.astype(np.float64) / 2.0**64
    return place[back], len(values)


def mix(value: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: spreads uint64 over all 64 bits, wrapping."""
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
