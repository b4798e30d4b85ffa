"""Files of a `datasets` repository, from a local folder or from the Hugging Face hub."""

import logging
import pathlib
from collections.abc import Iterator

from gidd_jax.data.sudoku import table
from gidd_jax.errors import InputError

READ = (".csv", ".parquet")


def parts(name: str, split: str, skipped: list[int]) -> list[tuple[str, Iterator["pyarrow.Table"]]]:
    """A `datasets` repository -> (label, tables of text columns) for every file of a split, in order.

    CSV and parquet files are fetched through `datasets` and read as text, so that boards of digits stay boards;
    anything else goes through ``load_dataset``. Raises ``InputError`` for a repository that cannot be reached, needs
    a loading script, holds no data, or lacks the split.
    """
    import datasets

    # A hub that does not answer is told of once, below.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        builder = datasets.load_dataset_builder(name)
        files = builder.config.data_files or {}
        splits = [str(each) for each in files or builder.info.splits or ()]
        if split not in splits:
            raise InputError(f"{name}: unknown split {split!r}; it has {', '.join(splits) or 'none'}")
        if files and all(pathlib.PurePosixPath(file).suffix in READ for file in files[split]):
            paths = [pathlib.Path(path) for path in datasets.DownloadManager().download(list(files[split]))]
            return [(str(path), table.batches(path, skipped)) for path in paths]
        whole = datasets.load_dataset(name, split=split).with_format("arrow")
    except InputError:
        raise
    # Whatever `datasets` raises, and it raises many kinds, is about the repository that was named.
    except Exception as error:
        raise InputError(f"{name}: {_reason(error)}") from error
    columns = table.pick(whole.column_names, name)
    return [(name, (table.chosen(batch, columns) for batch in whole.iter(table.BLOCK // 256)))]


def _reason(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, ConnectionError):
        return f"cannot be reached ({line}); connect, or give a local file or folder"
    if "scripts are no longer supported" in line:
        return f"needs a loading script, and `datasets` runs none any more ({line}); give its CSV or parquet file"
    return f"no data set of boards here ({line}); give a CSV or parquet file, a `datasets` repository or a bundled name"
