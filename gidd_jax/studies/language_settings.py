"""What a language sweep may set: the traced Hypers of a row and the static Config of a group."""

import dataclasses
from typing import Annotated, NamedTuple

from gidd_jax import files
from gidd_jax.config import Dial, at_least_one, setting
from gidd_jax.errors import InputError
from gidd_jax.optim import OptimConfig

KNOWN = ("markov", "hmm")
"""Data that is drawn from a source whose law is known."""

BUNDLED = (*KNOWN, "kjv", "wiki-leads")

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
    learning_rate: Annotated[float, Dial("1/step", 0, 10, "peak learning rate")] = 1e-3
    weight_decay: Annotated[float, Dial("", 0, 10, "decoupled weight decay")] = 0.0
    b2: Annotated[float, Dial("", 0, 0.99999, "decay of the second moment")] = 0.99


@dataclasses.dataclass(frozen=True)
class Config(OptimConfig):
    """What shapes the program or says what the text is."""

    data: str = setting(
        "kjv",
        "text, CSV, JSONL, parquet file or folder, Hugging Face name, kjv, wiki-leads, markov, hmm",
        execution=True,
    )
    tokenizer: str = setting("bytes", "bytes, characters, or a tokenizer.json")
    cut: str = setting("file", "what a document of a text file is", choices=("file", "paragraph", "line"))
    column: str = setting("text", "column of a table that holds the text")
    data_split: str = setting("train", "split of a Hugging Face data set to train on")
    subset: str = setting("", "configuration of a Hugging Face data set")
    validation_split: str = setting("", "split of it to validate on (default: a tenth is held out)")
    limit: int = setting(0, "keep the first so many characters (0: all)")
    crop: str = setting("packed", "windows of the joined text, or of single documents", choices=("packed", "documents"))
    padding: str = setting(
        "ignored",
        "padding in the loss; reference: noised and counted, as the authors do",
        choices=("ignored", "reference"),
    )
    tokens: int = setting(16, "markov, hmm: tokens of the source")
    order: int = setting(1, "markov: tokens that decide the next one")
    states: int = setting(8, "hmm: hidden states")
    concentration: float = setting(0.2, "markov, hmm: how even its rows are; small is predictable")
    source_seed: int = setting(0, "markov, hmm: which source")
    length: int = setting(64, "tokens of a sequence")
    batch: int = setting(32, "sequences a step")
    noise: str = setting(
        "log_snr", "which dials shape the noise: shift, scale or p_uniform, gamma", choices=tuple(MIXES)
    )
    weighting: str = setting(
        "",
        "weight of a cell in the loss (default: snr, or dynamic for hybrid)",
        choices=("", "snr", "elbo", "dynamic", "paper", "clip"),
    )
    low_discrepancy: bool = setting(True, "spread the times of a batch evenly")
    layers: int = setting(2, "layers")
    d_model: int = setting(64, "width")
    heads: int = setting(4, "attention heads")
    cond: int = setting(32, "width of the conditioning on t")
    time: bool = setting(True, "the model sees t")
    dtype: str = setting("float32", "type of matrix products", choices=("float32", "bfloat16"))
    chunk: int = setting(0, "cells whose logits exist at once (0: all, or 1024 where they would be over 64 million)")
    eval_sequences: int = setting(64, "held-out sequences of an evaluation")
    strata: int = setting(32, "noise levels at which a sequence is seen in an evaluation")
    samples: int = setting(32, "sequences sampled in an evaluation (0: none)")
    sample_steps: int = setting(64, "steps of ancestral sampling")
    correct_steps: int = setting(64, "most steps of self-correction after it (0: none)")
    correct_temperature: float = setting(0.1, "temperature of the changes self-correction proposes")
    dial: str = setting("", "what --coupling moves (default: shift, or p_uniform for hybrid)")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "length", "batch", "layers", "d_model", "heads", "cond")
        at_least_one(self, "eval_sequences", "strata", "sample_steps")
        if self.tokens < 2 or self.order < 1 or self.states < 1 or not self.concentration > 0:
            raise InputError(
                "a source needs --tokens of 2 or more, --order, --states of 1 or more, --concentration above 0"
            )
        if not self.correct_temperature > 0:
            raise InputError(f"--correct-temperature {self.correct_temperature:g}: must be above 0")
        if self.data not in BUNDLED:  # What a file holds is watched by the data fingerprint.
            object.__setattr__(self, "data", files.absolute(self.data))
        if not self.weighting:
            object.__setattr__(self, "weighting", WEIGHTINGS[self.noise])
        if not self.dial:
            object.__setattr__(self, "dial", MIXES[self.noise][0])
        if self.dial not in Hyper._fields or self.dial == "seed":
            raise InputError(f"--dial {self.dial}: not one of {', '.join(Hyper._fields[1:])}")
