"""Images of two scales: a large blob says the coarse label, a fine grating the fine one, and both can be read off."""

from typing import NamedTuple

import numpy as np

from gidd_jax.errors import InputError

COARSE = 4
"""Places of the blob: the quarters of the image, row by row."""
FINE = 4
"""Directions of the grating: 0, 45, 90, 135 degrees."""
WAVELENGTH = 3.0
"""Pixels of the grating's period, whatever the size of the image: the fine scale is that of the pixels."""
AMPLITUDES = (1.4, 0.35)


class Scales(NamedTuple):
    """Images [N,1,Y,X] in about [-1, 1] and their two labels, int32 [N]."""

    pixels: np.ndarray
    coarse: np.ndarray
    fine: np.ndarray


def synthetic(size: int, count: int, seed: int) -> Scales:
    """Draws of x = a (blob(coarse) - mean) + b grating(fine, phase) + .05 noise, labels uniform and independent.

    a = 1.4, b = .35, each varied by 15 % an image; the phase is uniform, so a fine label is no single image. Raises
    InputError for images below 8 pixels.
    """
    if size < 8:
        raise InputError(f"size {size}: both scales need 8 pixels or more")
    rng = np.random.default_rng(seed)
    coarse, fine = rng.integers(COARSE, size=count), rng.integers(FINE, size=count)
    a, b = (amplitude * (1 + 0.15 * rng.standard_normal(count)) for amplitude in AMPLITUDES)
    wave = gratings(size)[fine]
    phase = rng.uniform(0, 2 * np.pi, count)
    grating = np.cos(phase)[:, None, None] * wave[:, 0] + np.sin(phase)[:, None, None] * wave[:, 1]
    pixels = a[:, None, None] * blobs(size)[coarse] + b[:, None, None] * grating
    pixels += 0.05 * rng.standard_normal(pixels.shape)
    return Scales(pixels[:, None].astype(np.float32), coarse.astype(np.int32), fine.astype(np.int32))


def read_scales(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels [...] that images [...,1,Y,X] show: the blob that fits best, and the grating of most energy.

    The share of right answers on ``synthetic`` is above .999 from 16 pixels up.
    """
    pixels = np.asarray(pixels)[..., 0, :, :]
    size = pixels.shape[-1]
    like_blob = np.einsum("...yx,kyx->...k", pixels, blobs(size))
    like_wave = np.einsum("...yx,kpyx->...kp", pixels, gratings(size))
    return like_blob.argmax(-1), np.square(like_wave).sum(-1).argmax(-1)


def blobs(size: int) -> np.ndarray:
    """[COARSE, Y, X]: a Gaussian of width size / 6 in each quarter, of height 1, less its mean."""
    at = np.arange(size) - (size - 1) / 2
    centre = size / 4
    bumps = [
        np.exp(-((at[:, None] - row * centre) ** 2 + (at[None] - column * centre) ** 2) / (2 * (size / 6) ** 2))
        for row in (-1, 1)
        for column in (-1, 1)
    ]
    return np.stack([bump - bump.mean() for bump in bumps])


def gratings(size: int) -> np.ndarray:
    """[FINE, 2, Y, X]: cosine and sine of each direction."""
    at = np.arange(size)
    turns = np.pi * np.arange(FINE) / FINE
    angle = [2 * np.pi / WAVELENGTH * (np.cos(turn) * at[None] + np.sin(turn) * at[:, None]) for turn in turns]
    return np.stack([[np.cos(each), np.sin(each)] for each in angle])
