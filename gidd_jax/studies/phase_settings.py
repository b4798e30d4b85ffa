"""What a phase sweep may set: the traced Hypers of a row and the static Config of a group."""

import dataclasses
from typing import Annotated, NamedTuple

from gidd_jax.config import Dial, at_least_one, setting
from gidd_jax.errors import InputError
from gidd_jax.optim import LearningRate, SecondMoment, WeightDecay
from gidd_jax.studies.text_settings import TextConfig


class Hyper(NamedTuple):
    """What one row may set; every field is traced, so sweeping it never recompiles."""

    seed: Annotated[int, Dial("", 0, 2**31 - 1, "parameters, text, t and noise; paired settings share it")] = 0
    coupling: Annotated[float, Dial("", 0, 1000, "K between the oscillators of the phase core")] = 2.0
    core_weight: Annotated[float, Dial("", 0, 1e6, "weight of the loss that makes R the chance of being right")] = 1.0
    core_gradient: Annotated[float, Dial("", 0, 1, "share of that loss's gradient that reaches the transformer")] = 0.0
    modulation: Annotated[float, Dial("", 0, 100, "alpha: h (1 + alpha R) once, where the core reads h")] = 0.0
    span: Annotated[float, Dial("", 0, 2, "sampling: how far R moves the pace")] = 0.4
    lo: Annotated[float, Dial("", 0, 2, "sampling: the pace at R = 0, 1 is even")] = 0.8
    agreement: Annotated[float, Dial("", 0, 1000, "sampling: weight of log(1/2 + R/2) in the order")] = 1.0
    temperature: Annotated[float, Dial("", 1e-3, 100, "sampling: divides the logits")] = 1.0
    learning_rate: LearningRate = 1e-3
    weight_decay: WeightDecay = 0.0
    b2: SecondMoment = 0.99


@dataclasses.dataclass(frozen=True)
class Config(TextConfig):
    """The settings of a text study, the core's shape, and what is measured and sampled."""

    oscillators: int = setting(16, "oscillators of the phase core")
    core_steps: int = setting(4, "Euler steps of the oscillators")
    core_dt: float = setting(0.25, "length of one, in units of 1 / frequency")
    core_layer: int = setting(0, "layers below the core (0: half of them)")
    phases: str = setting("atan2", "hidden states to phases; tanh: the proposal's", choices=("atan2", "tanh"))
    scope: str = setting("position", "what the oscillators of one R share", choices=("position", "sequence"))
    debiased: bool = setting(False, "take the R of unrelated phases, 1 / sqrt(n), out of R")
    eval_sequences: int = setting(64, "held-out sequences of an evaluation")
    strata: int = setting(32, "noise levels at which a sequence is seen in an evaluation")
    samples: int = setting(16, "keys from which every arm samples in an evaluation (0: none)")
    sample_steps: int = setting(16, "model calls of every sampler")
    dial: str = setting("", "what --coupling moves (default: coupling)")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "eval_sequences", "strata", "sample_steps")
        if self.samples == 1:
            raise InputError("--samples 1: a yoked arm takes another key's R, so give 2 or more, or 0")
        if not self.core_layer:
            object.__setattr__(self, "core_layer", self.layers // 2)
        if not 0 < self.core_layer < self.layers:
            raise InputError(f"--core-layer {self.core_layer}: the core stands between two of the {self.layers} layers")
        if not self.dial:
            object.__setattr__(self, "dial", "coupling")
        if self.dial not in Hyper._fields or self.dial == "seed":
            raise InputError(f"--dial {self.dial}: not one of {', '.join(Hyper._fields[1:])}")
