"""Boards of a `datasets` repository, from a local folder or from the Hugging Face hub."""

from collections.abc import Iterator

from gidd_jax.data import hub, tables
from gidd_jax.data.sudoku import table

READ = (".csv", ".parquet")
INSTEAD = "give a CSV or parquet file, a `datasets` repository or a bundled name"


def parts(name: str, split: str, skipped: list[int]) -> list[tuple[str, Iterator["pyarrow.Table"]]]:
    """A `datasets` repository -> (label, tables of text columns) for every file of a split, in order.

    CSV and parquet files are read here, as text, so that boards of digits stay boards. Raises what ``hub.fetch`` does.
    """
    found = hub.fetch(name, split, READ, "boards", INSTEAD)
    if isinstance(found, list):
        return [(str(path), table.batches(path, skipped)) for path in found]
    columns = table.pick(found.column_names, name)
    return [(name, (tables.chosen(batch, columns, name) for batch in found.iter(tables.BLOCK // 256)))]
