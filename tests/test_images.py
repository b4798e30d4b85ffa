"""Images: the bundled digits are the published ones, the synthetic labels can be read off, repositories are served."""

import io

import numpy as np
import pytest

from gidd_jax.data import images
from gidd_jax.errors import InputError


def test_digits_are_the_published_test_set():
    found = images.load("digits")
    pixels, label = (np.concatenate(parts) for parts in zip(found.train, found.validation, strict=True))
    assert pixels.shape == (1797, 1, 8, 8) and (pixels.min(), pixels.max()) == (-1, 1) and found.classes == 10
    # Counts by digit as the UCI repository states them for the test set.
    assert np.bincount(label).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert 0.08 < len(found.validation[1]) / 1797 < 0.12
    again, other = images.load("digits"), images.load("digits", seed=1)
    assert again.fingerprint == found.fingerprint != other.fingerprint
    keys = [{image.tobytes() for image in part[0]} for part in (found.train, found.validation)]
    assert not keys[0] & keys[1]
    with pytest.raises(InputError, match="digits are 8 x 8"):
        images.load("digits", size=16)


@pytest.mark.parametrize("size", [16, 32])
def test_synthetic_labels_can_be_read_and_live_at_their_scale(size):
    made = images.synthetic(size, 2000, seed=3)
    coarse, fine = images.read_scales(made.pixels)
    assert (coarse == made.coarse).mean() > 0.999 and (fine == made.fine).mean() > 0.999
    # Labels are independent and uniform: chi-square of 16 cells, 15 degrees of freedom, alpha 1e-4.
    counts = np.bincount(made.coarse * 4 + made.fine, minlength=16)
    assert ((counts - 125) ** 2 / 125).sum() < 44.3
    # What is left after averaging over 4 x 4 boxes tells nothing of the fine label, and all of the coarse one.
    boxes = made.pixels.reshape(2000, 1, size // 4, 4, size // 4, 4).mean((3, 5))
    blurred = np.repeat(np.repeat(boxes, 4, 2), 4, 3)
    coarse, fine = images.read_scales(blurred)
    assert (coarse == made.coarse).mean() > 0.999
    loss = made.pixels - blurred
    assert np.square(loss).mean() > 0.02
    load = images.load("synthetic", size=size, limit=200)
    assert load.classes == 16 and load.train[0].shape[1:] == (1, size, size)
    with pytest.raises(InputError, match="8 pixels or more"):
        images.synthetic(4, 1, 0)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A parquet repository of 24 PNG images of 6 x 6 pixels, as `datasets` writes it."""
    import datasets
    from PIL import Image

    folder, rows = tmp_path_factory.mktemp("repository"), {"image": [], "label": []}
    rng = np.random.default_rng(0)
    for i in range(24):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).save(file, "PNG")
        rows["image"].append({"bytes": file.getvalue(), "path": None})
        rows["label"].append(i % 3)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list("abc")))
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    return folder


def test_a_repository_of_images(repository):
    found = images.load(str(repository), size=3, channels=3, share=0.25)
    assert found.train[0].shape == (18, 3, 3, 3) and len(found.validation[1]) == 6 and found.classes == 3
    whole = images.load(str(repository), size=6, channels=3, share=0.25)
    small, large = (np.concatenate([part[0] for part in (made.train, made.validation)]) for made in (found, whole))
    # A box of 2 x 2 pixels is their mean, up to the rounding to whole numbers.
    by_hand = large.reshape(24, 3, 3, 2, 3, 2).mean((3, 5))
    np.testing.assert_allclose(np.sort(small.ravel()), np.sort(by_hand.ravel()), atol=1 / 127)
    assert images.load(str(repository), size=4, limit=12, share=0.25).train[0].shape == (9, 1, 4, 4)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"column": "picture"}, "no column 'picture'; it has image, label"),
        ({"label": "image"}, "image must hold images and image whole numbers"),
        ({"split": "test"}, "unknown split 'test'; it has train"),
        ({"size": 0}, "give a size above 0"),
        ({"channels": 2}, "1 or 3 channels"),
    ],
)
def test_a_repository_that_does_not_do(repository, options, told):
    with pytest.raises(InputError, match=told):
        images.load(str(repository), **{"size": 4} | options)
