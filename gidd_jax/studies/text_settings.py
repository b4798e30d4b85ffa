"""What every study of text may set: what the text is, how it is cut, and the size of the transformer."""

import dataclasses

from gidd_jax import files, kernels
from gidd_jax.config import at_least_one, setting
from gidd_jax.errors import InputError
from gidd_jax.optim import OptimConfig

KNOWN = ("markov", "hmm")
"""Data that is drawn from a source whose law is known."""

BUNDLED = (*KNOWN, "kjv", "kjv-web", "wiki-leads")


@dataclasses.dataclass(frozen=True)
class SourceConfig(OptimConfig):
    """What the text is, and how much of it a step sees."""

    data: str = setting(
        "kjv",
        "text, CSV, JSONL, parquet file or folder, Hugging Face name, kjv, wiki-leads, markov, hmm",
        execution=True,
    )
    tokenizer: str = setting("bytes", "bytes, characters, bpe-N (bpe-4096), or a tokenizer.json")
    cut: str = setting("file", "what a document of a text file is", choices=("file", "paragraph", "line"))
    column: str = setting("text", "column of a table that holds the text")
    data_split: str = setting("train", "split of a Hugging Face data set to train on")
    subset: str = setting("", "configuration of a Hugging Face data set")
    validation_split: str = setting("", "split of it to validate on (default: a tenth is held out)")
    limit: int = setting(0, "keep the first so many characters (0: all)")
    length: int = setting(64, "tokens of a sequence")
    batch: int = setting(32, "sequences a step")
    d_model: int = setting(64, "width of the model")
    heads: int = setting(4, "attention heads")
    dtype: str = setting("float32", "type of matrix products", choices=("float32", "bfloat16"))

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "length", "batch", "d_model", "heads")
        if self.data not in BUNDLED:  # What a file holds is watched by the data fingerprint.
            object.__setattr__(self, "data", files.absolute(self.data))


@dataclasses.dataclass(frozen=True)
class TextConfig(SourceConfig):
    """The settings that studies of a text transformer share: how text is cut, sources of known law, its shape."""

    crop: str = setting("packed", "windows of the joined text, or of single documents", choices=("packed", "documents"))
    tokens: int = setting(16, "markov, hmm: tokens of the source")
    order: int = setting(1, "markov: tokens that decide the next one")
    states: int = setting(8, "hmm: hidden states")
    concentration: float = setting(0.2, "markov, hmm: how even its rows are; small is predictable")
    source_seed: int = setting(0, "markov, hmm: which source")
    layers: int = setting(2, "layers")
    cond: int = setting(32, "width of the conditioning on t")
    attention_kernel: str = kernels.attention_setting()

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "layers", "cond")
        kernels.check(self)
        if self.tokens < 2 or self.order < 1 or self.states < 1 or not self.concentration > 0:
            raise InputError(
                "a source needs --tokens of 2 or more, --order, --states of 1 or more, --concentration above 0"
            )
