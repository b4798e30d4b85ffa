"""Energies of a difference by layer and step, from cross-Grams: the paper's estimator, its null, and an unbiased one.

Modes are directions of V_0 [M, D], and a Gram V_s V_0^T [M, M] is all their energies need (``sampling.replicas``).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gidd_jax.analysis.spectrum import along_modes
from gidd_jax.errors import InputError


class Gaps(NamedTuple):
    """Energy kept by the last modes over that kept by the first, 1 where all keep alike, and both; each [..., S]."""

    in_sample: np.ndarray
    """The paper's (78-80): modes, denominators and energies from the same seeds. Biased upwards (``mode_energies``)."""
    held_out: np.ndarray
    """Modes from one set of seeds, numerators and denominators from another: 1 where nothing is selected."""
    null: np.ndarray
    """Modes and denominators from one set, energies of another: the in-sample value of seeds that forgot all."""
    leading: np.ndarray
    """Energy kept by the first modes, held out, over that at s = 0."""
    trailing: np.ndarray
    """The same of the last."""


def mode_gaps(grams: ArrayLike, sets: int, band: int = 0) -> Gaps:
    """The ratios of V_s V_0^T [..., S, M, M], whose seeds are ``sets`` sets one after another.

    Each is the mean energy in the last ``band`` modes kept over that in the first (0: an eighth of a set, rounded up),
    both means over sets (in-sample) or over ordered pairs of them: a mean of ratios would be too large. With one set
    there is only the in-sample one, else NaN.
    Raises InputError unless the seeds divide into the sets.
    """
    grams = np.asarray(grams, np.float64)
    M = grams.shape[-1]
    if sets < 1 or M % sets:
        raise InputError(f"{M} seeds do not divide into {sets} sets")
    rows = np.arange(M).reshape(sets, -1)
    band = band or -(-rows.shape[1] // 8)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in ("in_sample", "held_out", "null")}
    for basis in range(sets):
        for other in range(sets):
            own = grams[..., 0, rows[basis][:, None], rows[basis]]
            w, energies = along_modes(grams[..., rows[other][:, None], rows[basis]], own)
            if basis == other:
                found["in_sample"].append(_bands(energies / w[..., None, :], band))
            else:
                found["held_out"].append(_bands(energies / energies[..., :1, :], band))
                found["null"].append(_bands(energies / w[..., None, :], band))
    nothing = np.full(grams.shape[:-2], np.nan)
    means = {name: np.mean(values, axis=0) if values else (nothing, nothing) for name, values in found.items()}
    return Gaps(*(last / first for first, last in means.values()), *means["held_out"])


def effective_dimension(gram: ArrayLike) -> float:
    """(tr G)^2 / tr G^2 of V_0 V_0^T [M, M], without its finite-sample part: the participation ratio D_eff.

    From the entries off the diagonal alone, whose mean square is tr C^2: M (M-1) of them estimate it without bias.
    """
    gram = np.asarray(gram, np.float64)
    M = len(gram)
    square = (np.square(gram).sum() - np.square(np.diag(gram)).sum()) / (M * (M - 1))
    return float((np.trace(gram) / M) ** 2 / square)


def expected_inflation(M: int, dimension: float) -> float:
    """Upper end of the in-sample ratio where nothing is selected and all is forgotten, of M seeds in D_eff dimensions:

    ((1 + r) / (1 - r))^2 with r = sqrt(M / D_eff) (Marchenko and Pastur 1967); infinite where M >= D_eff.
    """
    r = np.sqrt(M / dimension)
    return float(((1 + r) / (1 - r)) ** 2) if r < 1 else float("inf")


def _bands(energies: np.ndarray, band: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the first ``band`` modes, and of the last ones kept."""
    kept = np.isfinite(energies[..., :1, :]).sum(-1, keepdims=True)  # those dropped stand last
    at = np.arange(energies.shape[-1])
    last = (at >= kept - band) & (at < kept)
    return energies[..., :band].mean(-1), np.where(last, energies, 0).sum(-1) / last.sum(-1)
