"""Files of a `datasets` repository, from a local folder or from the Hugging Face hub."""

import logging
import pathlib

from gidd_jax.errors import InputError


def fetch(
    name: str, split: str, suffixes: tuple[str, ...], what: str, instead: str, subset: str | None = None
) -> "list[pathlib.Path] | datasets.Dataset":
    """A split of a `datasets` repository -> its files, here and in order; or the whole table.

    Files are fetched through `datasets` and left for the caller to read where all of them end in one of ``suffixes``;
    anything else goes through ``load_dataset``. Raises ``InputError`` for a repository that cannot be reached, needs a
    loading script or a ``subset``, holds no data of ``what`` (it then says what to give ``instead``), or lacks the
    split.
    """
    import datasets

    # A hub that does not answer is told of once, below.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        builder = datasets.load_dataset_builder(name, *([subset] if subset else []))
        files = builder.config.data_files or {}
        splits = [str(each) for each in files or builder.info.splits or ()]
        if split not in splits:
            raise InputError(f"{name}: unknown split {split!r}; it has {', '.join(splits) or 'none'}")
        if files and all(pathlib.PurePosixPath(file).suffix in suffixes for file in files[split]):
            return [pathlib.Path(path) for path in datasets.DownloadManager().download(list(files[split]))]
        return datasets.load_dataset(name, *([subset] if subset else []), split=split).with_format("arrow")
    except InputError:
        raise
    # Whatever `datasets` raises, and it raises many kinds, is about the repository that was named.
    except Exception as error:
        raise InputError(f"{name}: {_reason(error, what, instead)}") from error


def _reason(error: Exception, what: str, instead: str) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    # A repository of several subsets names them on the second line.
    line = " ".join(lines[: 2 if "Config name is missing" in lines[0] else 1])
    if isinstance(error, ConnectionError):
        return f"cannot be reached ({line}); connect, or give a local file or folder"
    if "scripts are no longer supported" in line:
        return f"needs a loading script, and `datasets` runs none any more ({line}); give its CSV or parquet file"
    return f"no data set of {what} here ({line}); {instead}"
