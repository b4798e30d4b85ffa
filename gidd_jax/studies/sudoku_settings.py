"""What a Sudoku sweep may set: the traced Hypers of a row and the static Config of a group."""

import dataclasses
from typing import Annotated, NamedTuple

from gidd_jax import files, kernels
from gidd_jax.config import Dial, at_least_one, setting
from gidd_jax.data.sudoku.bundle import NAMES as BUNDLED
from gidd_jax.errors import InputError
from gidd_jax.models import two_head
from gidd_jax.optim import LearningRate, OptimConfig, SecondMoment, WeightDecay
from gidd_jax.studies import sudoku_samplers


class Hyper(NamedTuple):
    """What one row may set; every field is traced, so sweeping it never recompiles."""

    seed: Annotated[int, Dial("", 0, 2**31 - 1, "parameters, boards, t and noise; paired settings share it")] = 0
    attention: Annotated[float, Dial("", 0, 1, "towers: keys and values of the other tower mixed into each")] = 0.0
    gradient: Annotated[float, Dial("", 0, 1, "share of the holding head's gradient that reaches its trunk")] = 1.0
    gradient_jump: Annotated[float, Dial("", 0, 1, "share of the jump head's gradient that reaches its trunk")] = 1.0
    gate: Annotated[float, Dial("", 0, 1, "soft gate to MASK by the holding score (needs --gated)")] = 0.0
    gate_hard: Annotated[float, Dial("", 0, 1, "1: the gate reads whether the score is above 1/2, not the score")] = 0.0
    gate_truth: Annotated[float, Dial("", 0, 1, "share of true labels in what the gate reads in training")] = 0.0
    truth_steps: Annotated[int, Dial("steps", 0, 2**31 - 1, "steps in which gate_truth fades to 0; 0: it stays")] = 0
    sees_given: Annotated[float, Dial("", 0, 1, "weight of the flag of given cells; 0: blind (needs --given)")] = 1.0
    eval_gate: Annotated[float, Dial("", -1, 1, "gate in evaluation; -1: the one of training")] = -1.0
    jump_weight: Annotated[float, Dial("", 0, 1e6, "weight of the jump cross-entropy")] = 1.0
    holding_weight: Annotated[float, Dial("", 0, 1e6, "weight of the holding cross-entropy")] = 1.0
    divergence_weight: Annotated[
        float, Dial("", 0, 1e6, "weight of the Itakura-Saito divergence of the score from 1 and 1e-6, unknown cells")
    ] = 0.0
    divergence_resampled_weight: Annotated[float, Dial("", 0, 1e6, "the same, over resampled cells alone")] = 0.0
    interpolating_weight: Annotated[float, Dial("", 0, 1e6, "weight of GIDD's Itakura-Saito term of both heads")] = 0.0
    shuffled_label: Annotated[int, Dial("", 0, 1, "1: the holding head learns the labels of another board")] = 0
    jump_from: Annotated[int, Dial("steps", 0, 2**31 - 1, "steps before the jump head (its tower) trains")] = 0
    holding_until: Annotated[
        int, Dial("steps", 0, 2**31 - 1, "step at which the holding head (its tower) stops; 0: never")
    ] = 0
    trunk_until: Annotated[int, Dial("steps", 0, 2**31 - 1, "step at which the trunk stops; 0: never")] = 0
    learning_rate: LearningRate = 1e-3
    weight_decay: WeightDecay = 0.0
    b2: SecondMoment = 0.999
    tier: Annotated[int, Dial("", 0, 1000, "tier of boards trained and evaluated on; 0: all")] = 0
    first_tier: Annotated[int, Dial("", 0, 1000, "tier of boards trained on before")] = 0
    first_steps: Annotated[int, Dial("steps", 0, 2**31 - 1, "steps on first_tier before the row's own; 0: none")] = 0
    ramp_from: Annotated[float, Dial("", 0, 1, "value the config's dial starts from")] = 0.0
    ramp_steps: Annotated[int, Dial("steps", 0, 2**31 - 1, "steps the dial takes to its value; 0: at once")] = 0
    ramp_after: Annotated[int, Dial("steps", 0, 2**31 - 1, "steps at the first value before the ramp begins")] = 0


@dataclasses.dataclass(frozen=True)
class Config(OptimConfig):
    """What shapes the program or says what the boards are."""

    data: str = setting(
        "9x9", "CSV or parquet file, Hugging Face name, or bundled boards: 4x4, 6x6, 9x9", execution=True
    )
    data_split: str = setting("train", "split of a Hugging Face data set to read")
    rating: tuple[int, ...] = setting((), "keep boards rated LOW to HIGH")
    rating_tiers: tuple[int, ...] = setting((), "two tiers by rating: LOW or less, above HIGH; the rest is left out")
    clues: tuple[int, ...] = setting((), "keep boards with LOW to HIGH clues")
    source: str = setting("", "keep boards of this source (or tier, for bundled boards)")
    limit: int = setting(0, "keep the first so many boards (0: all)")
    skip_bad: bool = setting(False, "drop and count bad rows instead of refusing the file")
    augment: bool = setting(True, "a random symmetry for every board drawn (off where the split is by grid)")
    noise: str = setting("uniform", "what replaces a resampled digit", choices=("uniform", "masked"))
    label: str = setting("resampled", "what the holding head is asked", choices=("resampled", "wrong"))
    low_discrepancy: bool = setting(False, "spread the times of a batch evenly")
    batch: int = setting(64, "boards a step")
    trunk: str = setting("towers", "a tower for each head, or one shared trunk", choices=("towers", "shared"))
    norm: str = setting("pre", "where the layer norms stand", choices=("pre", "post"))
    positions: str = setting("learned", "position code", choices=("learned", "rope"))
    given: bool = setting(True, "the model sees which cells are given")
    time: bool = setting(False, "the model sees t")
    gated: bool = setting(False, "two passes joined by the soft gate")
    gate_stop: bool = setting(True, "no gradient through the gate into the holding head")
    iterations: int = setting(1, "weight-shared passes of the stack, each supervised")
    d_model: int = setting(128, "width of the model")
    layers: int = setting(4, "layers")
    heads: int = setting(4, "attention heads")
    d_ff: int = setting(0, "width of the feed-forward layer (0: 4 d_model)")
    dropout: float = setting(0.0, "dropout rate")
    dtype: str = setting("float32", "type of matrix products", choices=("float32", "bfloat16"))
    attention_kernel: str = kernels.attention_setting()
    init: str = setting("lecun", "how parameters are drawn; torch: as in the posts", choices=("lecun", "torch"))
    eval_boards: int = setting(256, "held-out boards of an evaluation")
    eval_tier: str = setting("", "name of the tier that all held-out boards are of (default: the tier of the row)")
    branch_boards: int = setting(0, "held-out boards of a wrong search branch the holding head is asked of (0: none)")
    decode_boards: int = setting(64, "held-out boards decoded in an evaluation")
    decode: tuple[int, ...] = setting((10, 81), "cells committed a pass, for each decoding")
    decode_by: str = setting("holding", "which cells are committed first", choices=("holding", "confidence"))
    samplers: tuple[str, ...] = setting((), "samplers measured besides: k-pass, ancestral, resample, remask; +ORACLE")
    sampler_steps: int = setting(0, "model calls a sampler may make (0: one a cell)")
    sampler_cells: int = setting(0, "cells a sampler may rewrite at a step (0: all in sampler_steps)")
    sampler_temperature: float = setting(1.0, "temperature of new digits in resample and remask; 0: the likeliest")
    sampler_spread: float = setting(1.0, "1: resample and remask draw the cells they rewrite; 0: the least trusted")
    eval_iterations: int = setting(0, "passes of the stack in evaluation (0: as in training)")
    dial: str = setting("", "what --coupling moves (default: attention for towers, gradient for a shared trunk)")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "batch", "iterations", "d_model", "layers", "heads", "eval_boards", "decode_boards")
        kernels.check(self)
        if any(k < 1 for k in self.decode):
            raise InputError(f"--decode {' '.join(map(str, self.decode))}: at least 1 cell a pass")
        for name in self.samplers:
            sudoku_samplers.check(name, self.noise, self.decode_by)
        if self.eval_iterations > 1 and self.iterations == 1:
            raise InputError(f"--eval-iterations {self.eval_iterations}: a model of 1 pass has not learnt to go on")
        if self.branch_boards and self.noise != "uniform":
            raise InputError("--branch-boards needs --noise uniform: open cells show random digits, as in training")
        if self.data not in BUNDLED:  # What a file holds is watched by the data fingerprint.
            object.__setattr__(self, "data", files.absolute(self.data))
        for flag, span in (("rating", self.rating), ("rating-tiers", self.rating_tiers), ("clues", self.clues)):
            if span and (len(span) != 2 or span[0] > span[1]):
                raise InputError(f"--{flag} takes two numbers, LOW and HIGH")
        if not self.dial:
            object.__setattr__(self, "dial", "attention" if self.trunk == "towers" else "gradient")
        if self.dial not in two_head.Couplings._fields:
            raise InputError(f"--dial {self.dial}: not one of {', '.join(two_head.Couplings._fields)}")


POSTS = {"trunk": "shared", "norm": "post", "given": False, "d_model": 128, "layers": 4, "heads": 4, "dropout": 0.1}
"""The posts' stored model (806,026 parameters on 9x9 boards), blind to which cells are given; with ``init="torch"`` it
also starts as theirs did."""
