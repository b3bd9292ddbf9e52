"""Arrow files, such as a saved Hugging Face data set has: read in place, batch by batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa


class Batches:
    """An opened Arrow file, a stream or with a footer; it answers as :class:`pyarrow.parquet.ParquetFile` does."""

    def __init__(self, file: Path) -> None:
        source = pa.memory_map(str(file))
        try:
            self.batches = list(pa.ipc.open_stream(source))
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_file(source)
            self.batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        if not self.batches:
            raise ValueError("it holds no rows")
        self.schema_arrow = self.batches[0].schema
        self.num_row_groups = len(self.batches)

    def read_row_group(self, group: int, columns: Sequence[str], use_threads: bool = False) -> Any:
        """Return columns of a batch as a table; nothing is copied."""
        return pa.Table.from_batches([self.batches[group]]).select(list(columns))
