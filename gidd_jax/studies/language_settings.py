"""What a language sweep may set: the traced Hypers of a row and the static Config of a group."""

import dataclasses
from typing import Annotated, NamedTuple

from gidd_jax.config import Dial, at_least_one, setting
from gidd_jax.errors import InputError
from gidd_jax.optim import LearningRate, SecondMoment, WeightDecay
from gidd_jax.studies.text_settings import TextConfig

MIXES = {"log_snr": ("shift", "scale"), "hybrid": ("p_uniform", "gamma")}
"""The dials that shape the noise, by kind."""

WEIGHTINGS = {"log_snr": "snr", "hybrid": "dynamic"}
"""What the papers weigh the loss with, by kind of noise."""


class Hyper(NamedTuple):
    """What one row may set; every field is traced, so sweeping it never recompiles."""

    seed: Annotated[int, Dial("", 0, 2**31 - 1, "parameters, text, t and noise; paired settings share it")] = 0
    shift: Annotated[float, Dial("", -1000, 1000, "log_snr: -1000 only masks, 0 balanced, 1000 only uniform")] = 0.0
    scale: Annotated[float, Dial("", 0, 1, "log_snr: how fast masks give way to uniform tokens")] = 1.0
    p_uniform: Annotated[float, Dial("", 0, 0.9999, "hybrid: mass of uniform tokens at t = 1/2")] = 0.0
    gamma: Annotated[float, Dial("", 1e-3, 2, "hybrid: how sharply uniform tokens peak in time")] = 1.0
    is_weight: Annotated[float, Dial("", 0, 1e3, "weight of the Itakura-Saito term beside KL")] = 1.0
    min_weight: Annotated[float, Dial("", 0, 1e6, "least weight of a cell (dynamic, paper, clip)")] = 0.0
    max_weight: Annotated[float, Dial("", 0, 1e6, "greatest weight of a cell (dynamic, paper, clip)")] = 2.0
    learning_rate: LearningRate = 1e-3
    weight_decay: WeightDecay = 0.0
    b2: SecondMoment = 0.99


@dataclasses.dataclass(frozen=True)
class Config(TextConfig):
    """The settings of a text study, and how its noise, its evaluation and its samples are made."""

    padding: str = setting(
        "ignored",
        "padding in the loss; reference: noised and counted, as the authors do",
        choices=("ignored", "reference"),
    )
    noise: str = setting(
        "log_snr", "which dials shape the noise: shift, scale or p_uniform, gamma", choices=tuple(MIXES)
    )
    weighting: str = setting(
        "",
        "weight of a cell in the loss (default: snr, or dynamic for hybrid)",
        choices=("", "snr", "elbo", "dynamic", "paper", "clip"),
    )
    low_discrepancy: bool = setting(True, "spread the times of a batch evenly")
    time: bool = setting(True, "the model sees t")
    chunk: int = setting(0, "cells whose logits exist at once (0: all, or 1024 where they would be over 64 million)")
    eval_sequences: int = setting(64, "held-out sequences of an evaluation")
    strata: int = setting(32, "noise levels at which a sequence is seen in an evaluation")
    samples: int = setting(32, "sequences sampled in an evaluation (0: none)")
    sample_steps: int = setting(64, "model calls of ancestral sampling")
    correct_steps: int = setting(64, "most steps of self-correction after it (0: none)")
    correct_temperature: float = setting(0.1, "temperature of the changes self-correction proposes")
    dial: str = setting("", "what --coupling moves (default: shift, or p_uniform for hybrid)")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "eval_sequences", "strata", "sample_steps")
        if not self.correct_temperature > 0:
            raise InputError(f"--correct-temperature {self.correct_temperature:g}: must be above 0")
        if not self.weighting:
            object.__setattr__(self, "weighting", WEIGHTINGS[self.noise])
        if not self.dial:
            object.__setattr__(self, "dial", MIXES[self.noise][0])
        if self.dial not in Hyper._fields or self.dial == "seed":
            raise InputError(f"--dial {self.dial}: not one of {', '.join(Hyper._fields[1:])}")
