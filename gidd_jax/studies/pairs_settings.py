"""What a sweep of the pairs study may set: the traced Hypers of a row and the static Config of a group."""

import dataclasses
import pathlib
from typing import Annotated, NamedTuple

from gidd_jax import files
from gidd_jax.config import Dial, setting
from gidd_jax.errors import InputError
from gidd_jax.optim import OptimConfig
from gidd_jax.studies.concepts_settings import ModelConfig

TRAINING = {field.name for field in dataclasses.fields(OptimConfig)} | {"batch"}
MODEL = tuple(field.name for field in dataclasses.fields(ModelConfig) if field.name not in TRAINING)
"""The settings that a trained model was made with, of text and shape; how it was trained is none of them."""

HEADS = ("first concept", "weighted concepts", "via decoder")
"""What the score is read from, by the number that the dial ``head`` has."""


class Hyper(NamedTuple):
    """What one row may set; every field is traced."""

    seed: Annotated[int, Dial("", 0, 2**31 - 1, "head, untrained model, order of the pairs")] = 0
    head: Annotated[int, Dial("", 0, 2, "reads: 0 the first concept, 1 a learned average, 2 the decoder")] = 1
    warm: Annotated[float, Dial("", 0, 1, "1: starts from the trained model; 0: from an untrained one")] = 1.0
    tune: Annotated[float, Dial("", 0, 1, "1: all parameters learn; 0: the head alone")] = 1.0
    learning_rate: Annotated[float, Dial("1/step", 0, 10, "peak learning rate")] = 1e-4
    weight_decay: Annotated[float, Dial("", 0, 10, "decoupled weight decay")] = 0.01
    b2: Annotated[float, Dial("", 0, 0.99999, "decay of the second moment")] = 0.999


@dataclasses.dataclass(frozen=True)
class Config(ModelConfig):
    """The text and the model of the concepts, ``init_from`` where they lie, and pairs of texts with human scores."""

    pairs: str = setting(
        "lee",
        "CSV, TSV, JSONL, parquet file or Hugging Face name of sentence1, sentence2, score; stsb, lee",
        execution=True,
    )
    held_out: str = setting(
        "",
        "file of such pairs, or split of a Hugging Face name, to measure on (default: a fifth is held out)",
        execution=True,
    )
    score: str = setting("score", "column of the human scores")
    pairs_subset: str = setting("", "configuration of a Hugging Face data set of pairs (glue: stsb)")
    dial: str = setting("", "what --coupling moves (default: warm)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dial:
            object.__setattr__(self, "dial", "warm")
        if self.dial not in Hyper._fields or self.dial == "seed":
            raise InputError(f"--dial {self.dial}: not one of {', '.join(Hyper._fields[1:])}")
        for name in ("pairs", "held_out"):
            given = getattr(self, name)
            if given not in ("", "lee", "stsb") and (pathlib.Path(given).exists() or pathlib.Path(given).suffix):
                object.__setattr__(self, name, files.absolute(given))
