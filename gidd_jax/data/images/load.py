"""A source of images -> pixels in [-1, 1] with classes, to train and to validate on."""

import hashlib
import io
import pathlib
from typing import NamedTuple

import numpy as np

from gidd_jax.data import hub
from gidd_jax.data.deal import places
from gidd_jax.data.images.synthetic import COARSE, FINE, synthetic
from gidd_jax.errors import InputError

FOLDER = pathlib.Path(__file__).parent.parent / "pictures"
DRAWS = 8192
"""Images of the synthetic source, a tenth of them held out."""


class Images(NamedTuple):
    """Pixels float32 [N,C,Y,X] in [-1, 1] and labels int32 [N] of both parts; the fingerprint is of them all."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    classes: int
    name: str
    fingerprint: str


def load(
    source: str,
    *,
    size: int = 0,
    column: str = "image",
    label: str = "label",
    split: str = "train",
    subset: str | None = None,
    channels: int = 1,
    limit: int | None = None,
    share: float = 0.1,
    seed: int = 0,
) -> Images:
    """Images with their classes; ``share`` of them held out, equal images together.

    ``source``: digits (8 x 8, come with the package), synthetic (``size`` pixels; class = coarse x 4 + fine), or a
    `datasets` repository, in a folder or on the Hugging Face hub, whose ``column`` holds images and ``label`` whole
    numbers; these are resized to ``size`` and made grey (``channels`` 1) or RGB (3). Raises InputError where there are
    none.
    """
    if source == "digits":
        pixels, labels = _digits(size, channels)
    elif source == "synthetic":
        made = synthetic(size or 16, limit or DRAWS, seed)
        pixels, labels = np.clip(made.pixels, -1, 1), made.coarse * FINE + made.fine
    else:
        pixels, labels = _repository(source, size, column, label, split, subset, channels, limit)
    held = places(_hashes(pixels), seed)[0] < share
    if held.all() or not held.any():
        raise InputError(f"{source}: {len(pixels)} images leave none to train or none to validate on; give more")
    classes = COARSE * FINE if source == "synthetic" else int(labels.max()) + 1
    digest = hashlib.sha256(pixels.tobytes() + labels.tobytes() + held.tobytes()).hexdigest()
    labels = labels.astype(np.int32)
    train, validation = ((pixels[part], labels[part]) for part in (~held, held))
    return Images(train, validation, classes, source, f"image-{digest}")


def _digits(size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    if size not in (0, 8) or channels != 1:
        raise InputError(f"digits are 8 x 8 pixels of one channel, not {channels} x {size} x {size}")
    with np.load(FOLDER / "digits.npz", allow_pickle=False) as file:
        return file["pixels"][:, None].astype(np.float32) / 8 - 1, file["label"]


def _repository(
    source: str, size: int, column: str, label: str, split: str, subset: str | None, channels: int, limit: int | None
) -> tuple[np.ndarray, np.ndarray]:
    if channels not in (1, 3) or size < 1:
        raise InputError(f"{source}: give a size above 0 and 1 or 3 channels, not {size} and {channels}")
    table = hub.fetch(source, split, (), "images", "give digits, synthetic, or a repository of images", subset)
    for name in (column, label):
        if name not in table.column_names:
            raise InputError(f"{source}: no column {name!r}; it has {', '.join(table.column_names)}")
    arrow = table.with_format("arrow")[: limit or len(table)]
    try:
        labels = np.asarray(arrow[label].to_pylist(), dtype=np.int32)
        pictures = [_picture(value["bytes"], size, channels) for value in arrow[column].to_pylist()]
    except (TypeError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{source}: {column} must hold images and {label} whole numbers ({error})") from error
    if labels.min() < 0:
        raise InputError(f"{source}: class {labels.min()} in {label}; give a split with labels")
    return np.stack(pictures), labels


def _picture(encoded: bytes, size: int, channels: int) -> np.ndarray:
    """[C,Y,X] in [-1, 1] of an encoded image; sides are resized each by itself."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BOX)
        array = np.asarray(image, np.float32).reshape(size, size, channels)
    return np.moveaxis(array, -1, 0) / 127.5 - 1


def _hashes(pixels: np.ndarray) -> np.ndarray:
    """One uint64 an image: equal images have equal ones."""
    digests = b"".join(hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels)
    return np.frombuffer(digests, np.uint64)
