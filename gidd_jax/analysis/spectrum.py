"""Spectra: how many directions a cloud of features fills, and how much energy keeps to the modes it started in."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gidd_jax.errors import InputError

SINGLE = 1e-6
"""Share of the first eigenvalue below which one of float32 is noise."""


class ModeEnergies(NamedTuple):
    """Modes of V[0]: eigenvalues [M], falling, which are kept [M], and the energy left in each [S, M].

    Of a mode that is not kept they are 0 and NaN.
    """

    eigenvalues: np.ndarray
    keep: np.ndarray
    energies: np.ndarray


class Bands(NamedTuple):
    """Mean energy of the first and of the last kept modes [S], and their ratio last / first."""

    lead: np.ndarray
    trail: np.ndarray
    ratio: np.ndarray


def mode_energies(V: ArrayLike) -> ModeEnergies:
    """Energies of V [S, M, D] along the modes r_k of V[0], relative to s = 0 (arXiv 2603.20987, eqs. 42-44, 75).

    G = V_0 V_0^T / M = U diag(w) U^T;  r_k = V_0^T u_k / sqrt(M w_k);  energies[s, k] = |V_s r_k|^2 / |V_0 r_k|^2,
    taken from the M x M matrices V_s V_0^T alone, so D may be large. Modes with w_k <= tol w_1 (tol 1e-10; 1e-6 where V
    is float32) are not kept. In-sample: modes and energies come from the same rows, which by itself makes trailing
    modes seem to keep more. Raises InputError unless V is [S, M, D].

    >>> V = np.stack([np.eye(3), 0.5 * np.eye(3)])  # at s = 1 every mode at half its size
    >>> analysis.mode_energies(V).energies.round(6).tolist()
    [[1.0, 1.0, 1.0], [0.25, 0.25, 0.25]]
    """
    V = np.asarray(V)
    if V.ndim != 3:
        raise InputError(f"mode_energies takes V [S, M, D], not {V.shape}")
    tolerance = 1e-10 if V.dtype == np.float64 else SINGLE
    V = V.astype(np.float64)
    cross = np.einsum("smd,nd->smn", V, V[0], optimize=True)
    w, energies = along_modes(cross, cross[0], tolerance)
    found = np.isfinite(w)
    return ModeEnergies(np.where(found, w, 0.0) / len(cross[0]), found, energies / w)


def along_modes(cross: np.ndarray, own: np.ndarray, tolerance: float = SINGLE) -> tuple[np.ndarray, np.ndarray]:
    """|V_s r_k|^2 of V_s V_0^T [..., S, N, M] along the modes of V_0, from ``own`` = V_0 V_0^T [..., M, M] (float64).

    -> eigenvalues [..., M] of ``own``, falling, NaN where they are not above ``tolerance`` times the first; energies
    [..., S, M], NaN there too. The N rows of V_s need not be those of V_0.
    """
    w, U = np.linalg.eigh((own + np.swapaxes(own, -1, -2)) / 2)
    w, U = w[..., ::-1], U[..., ::-1]
    w = np.where(w > tolerance * np.maximum(w[..., :1], 0.0), w, np.nan)
    return w, np.square(cross @ U[..., None, :, :]).sum(-2) / w[..., None, :]


def mode_bands(modes: ModeEnergies, band: int = 0) -> Bands:
    """Means over the first and last ``band`` kept modes (0: an eighth of the rows, rounded up; eqs. 78-80)."""
    band = band or -(-len(modes.keep) // 8)
    kept = modes.energies[:, modes.keep]
    lead, trail = kept[:, :band].mean(axis=1), kept[:, -band:].mean(axis=1)
    return Bands(lead, trail, trail / lead)


def effective_rank(Z: ArrayLike, centered: bool = False) -> float:
    """Nuclear norm over spectral norm of Z [N, H], sum(s) / max(s): between 1 and min(N, H); 0 where Z is 0.

    ``centered`` takes the mean row out first. A random Gaussian 128 x 512 matrix has 84. Raises InputError unless 2-D.

    >>> round(analysis.effective_rank(np.diag([2.0, 1.0, 1.0])), 6)
    2.0
    """
    s = _singular_values(Z, centered)
    return float(s.sum() / s[0]) if s[0] > 0 else 0.0


def rankme(Z: ArrayLike) -> float:
    """exp of the entropy of s / sum(s), s the singular values of the centred Z [N, H] (Garrido et al. 2023, eq. 1).

    >>> round(analysis.rankme(np.concatenate([np.eye(4), -np.eye(4)])), 6)
    4.0
    """
    s = _singular_values(Z, True)
    if not s[0] > 0:
        return 0.0
    p = s[s > 0] / s.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def _singular_values(Z: ArrayLike, centered: bool) -> np.ndarray:
    Z = np.asarray(Z, np.float64)
    if Z.ndim != 2 or 0 in Z.shape:
        raise InputError(f"a rank needs a matrix [N, H] with something in it, not {Z.shape}")
    if not np.isfinite(Z).all():
        raise InputError("a rank needs finite numbers; the matrix holds NaN or infinity")
    return np.linalg.svd(Z - Z.mean(axis=0) if centered else Z, compute_uv=False)
