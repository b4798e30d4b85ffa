"""What a sweep of the synchronisation gap may set: the traced Hypers of a row and the static Config of a group."""

import dataclasses
from typing import Annotated, NamedTuple

from gidd_jax import files, kernels
from gidd_jax.config import Dial, at_least_one, setting
from gidd_jax.errors import InputError
from gidd_jax.models import dit_image
from gidd_jax.optim import LearningRate, OptimConfig, SecondMoment, WeightDecay

BUNDLED = ("digits", "synthetic")


class Hyper(NamedTuple):
    """What one row may set; every field is traced, so sweeping it never recompiles."""

    seed: Annotated[int, Dial("", 0, 2**31 - 1, "parameters, images, t and noise; paired settings share it")] = 0
    g: Annotated[float, Dial("", 0, 1, "coupling of the pairs measured after training, which it leaves alone")] = 0.0
    sigma: Annotated[float, Dial("", 0, 1, "how far apart a pair starts: 0 together, 1 independent")] = 0.5
    eta: Annotated[float, Dial("", 0, 1, "noise of the sampler: 0 none, 1 that of DDPM")] = 1.0
    learning_rate: LearningRate = 2e-3
    weight_decay: WeightDecay = 0.0
    b2: SecondMoment = 0.99


@dataclasses.dataclass(frozen=True)
class Config(OptimConfig):
    """What shapes the program or says what the images are."""

    data: str = setting("digits", "digits, synthetic, or a Hugging Face name or folder of images", execution=True)
    size: int = setting(0, "pixels a side; images of a repository are resized (0: 8 for digits, 16 for synthetic)")
    channels: int = setting(1, "1 grey, 3 colours")
    column: str = setting("image", "column of a repository that holds images")
    label: str = setting("label", "column of a repository that holds classes")
    data_split: str = setting("train", "split of a repository")
    subset: str = setting("", "configuration of a repository")
    limit: int = setting(0, "keep the first so many images (0: all)")
    batch: int = setting(64, "images a step")
    drop_class: float = setting(0.1, "share of training images shown without their class")
    patch: int = setting(2, "pixels a side of a patch")
    layers: int = setting(8, "layers")
    d_model: int = setting(64, "width of the model")
    heads: int = setting(4, "attention heads")
    dtype: str = setting("float32", "type of matrix products in training", choices=("float32", "bfloat16"))
    attention_kernel: str = kernels.attention_setting()
    eval_images: int = setting(128, "held-out images of an evaluation")
    pairs: int = setting(16, "pairs measured after training")
    sample_steps: int = setting(50, "model calls of the sampler, of 1000 steps")
    forks: int = setting(11, "intervention times, evenly from no step to all of them")
    kind: str = setting("", "class of the pairs, a number (default: none given)")
    noise: str = setting("independent", "noise of a pair while it is coupled", choices=("independent", "shared"))
    pool: int = setting(0, "cells a side of the coarse scale (0: 8, or a quarter of the side below 32 pixels)")
    dial: str = setting("g", "what --coupling moves", choices=("g", "sigma", "eta"))

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "batch", "eval_images", "pairs", "sample_steps", "forks")
        kernels.check(self)
        if self.pairs < 2 or self.forks < 2:
            raise InputError(f"--pairs {self.pairs}, --forks {self.forks}: at least 2 of each are needed")
        if self.sample_steps > 1000:
            raise InputError(f"--sample-steps {self.sample_steps}: at most 1000")
        if self.drop_class > 1:
            raise InputError(f"--drop-class {self.drop_class:g}: at most 1")
        if self.kind and not self.kind.isdecimal():
            raise InputError(f"--kind {self.kind}: give the number of a class")
        if not self.size and self.data in BUNDLED:
            object.__setattr__(self, "size", {"digits": 8, "synthetic": 16}[self.data])
        if self.data not in BUNDLED:
            object.__setattr__(self, "data", files.absolute(self.data))
        if not self.pool:
            object.__setattr__(self, "pool", 8 if self.size >= 32 else max(1, self.size // 4))

    def shape(self, classes: int, dtype: str) -> dit_image.DitImageConfig:
        """The model's static shape; measured in float32, which the theory differentiates forward, by the einsum."""
        sizes = (self.size, self.channels, self.patch, classes, self.layers, self.d_model, self.heads)
        kernel = "auto" if dtype == "float32" else self.attention_kernel
        return dit_image.DitImageConfig(*sizes, dtype=dtype, attention_kernel=kernel)
