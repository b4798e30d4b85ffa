"""Text: read, split, encode; ``crops`` draws stretches of it on the device, and is the one file here that needs jax."""

from gidd_jax.data.text.load import Corpus, Part, load
from gidd_jax.data.text.tokenizer import Bytes, Characters, HuggingFace, Tokenizer, from_json, to_json
from gidd_jax.data.text.views import Rows, Views, decode_rows, views

__all__ = [
    "Bytes",
    "Characters",
    "Corpus",
    "HuggingFace",
    "Part",
    "Rows",
    "Tokenizer",
    "Views",
    "decode_rows",
    "from_json",
    "load",
    "to_json",
    "views",
]
