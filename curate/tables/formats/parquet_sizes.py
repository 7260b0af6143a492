"""Find how much memory the columns of a Parquet file need, before they are decoded.

The footer tells how many bytes a column takes once its pages are unpacked. Decoding may need far more: a value that
stands once in a dictionary may stand in every row, and a list of a billion equal numbers takes a few bytes.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from curate.storage import files
from curate.tables import reading
from curate.tables.columns import arrow_types
from curate.tables.reading import LONG_VALUE, Request

WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}  # bytes of a decoded value
CODE_BYTES = 4  # of the place of a value in a dictionary


@dataclass(frozen=True)
class RequestedFile:
    """An open file of ``size`` bytes and the request for its rows.

    It tells which row groups to decode together, and how many rows at a time.
    """

    file: pq.ParquetFile
    request: Request
    size: int
    row_bytes: dict[int, float] = field(default_factory=dict)  # of the row groups that were looked at

    def run_of(self, group: int) -> int:
        """Return the number of the run of a row group: -1 for small groups, which are read together.

        Batches then do not end where groups end. A large group is read alone.
        """
        rows = self.file.metadata.row_group(group).num_rows
        return group if rows * self._row_bytes(group) > reading.PIECE_BYTES else -1

    def piece_rows(self, group: int) -> int:
        """Return how many rows of a row group to decode at a time.

        Raises:
            SchemaError: if a column grows beyond reason when it is unpacked or decoded.
        """
        return max(1, int(reading.PIECE_BYTES / max(1.0, self._row_bytes(group))))

    def decoded_groups(self) -> tuple[tuple[int, int], ...]:
        """Return the rows of each row group, and about how many bytes the group takes when it is decoded.

        Texts that stand in a dictionary are counted once for each row. Their mean length is that of the dictionary of
        the first row group, so that little is read.
        """
        metadata = self.file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        sizes = [group.total_byte_size for group in groups]
        for place in self._places():
            column = self.file.schema.column(place)
            if column.physical_type != "BYTE_ARRAY" or column.max_repetition_level:
                continue
            chunks = [group.column(place) for group in groups]
            coded = [number for number, chunk in enumerate(chunks) if chunk.has_dictionary_page and chunk.num_values]
            if not coded or self._is_bomb(chunks[coded[0]]):
                continue
            mean = self._mean_bytes(coded[0], column.path)
            for number in coded:
                chunk = chunks[number]
                sizes[number] += max(0, int(mean * chunk.num_values) - chunk.total_uncompressed_size)
        return tuple((group.num_rows, size) for group, size in zip(groups, sizes, strict=True))

    def _is_bomb(self, chunk: pq.ColumnChunkMetaData) -> bool:
        packed = max(1, min(chunk.total_compressed_size, self.size))
        return reading.is_bomb(chunk.total_uncompressed_size, packed, self.request.document_bytes)

    def _mean_bytes(self, group: int, path: str) -> float:
        """Return the mean bytes of the values in a column's dictionary; 0 if it cannot be read."""
        # Damage is an error when the rows are read, and that error tells the place.
        with suppress(pa.ArrowException, OSError):
            first = next(self._coded(group, path, 1), None)
            lengths = None if first is None else arrow_types.value_bytes(first.dictionary)
            return float(lengths.mean()) if lengths is not None and len(lengths) else 0.0
        return 0.0

    def _row_bytes(self, group: int) -> float:
        """Return the most bytes that a row of a row group may need, summed over the requested columns."""
        if group not in self.row_bytes:
            self.row_bytes[group] = 1.0 + sum(self._column_bytes(group, place) for place in self._places())
        return self.row_bytes[group]

    def _places(self) -> Iterator[int]:
        """Yield the places of the column chunks that are read. A nested column has several."""
        names = self.request.columns
        for place in range(self.file.metadata.num_columns):
            path = self.file.schema.column(place).path
            # Names of columns may hold dots, as those of nested columns do.
            if names is None or any(path == name or path.startswith(f"{name}.") for name in names):
                yield place

    def _column_bytes(self, group: int, place: int) -> float:
        metadata, column = self.file.metadata.row_group(group), self.file.schema.column(place)
        chunk, rows = metadata.column(place), max(1, metadata.num_rows)
        unpacked, values = chunk.total_uncompressed_size, chunk.num_values
        # The footer of a bomb may claim any size, so the size of the file is a bound.
        packed = max(1, min(chunk.total_compressed_size, self.size))
        name = f"{column.path} of row group {group}"
        self._check(name, packed, unpacked)
        nested, coded = column.max_repetition_level > 0, bool(chunk.has_dictionary_page)
        width = column.length if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY" else WIDTHS.get(chunk.physical_type, 0)
        if nested:
            self._check_lists(name, packed, values * max(width, CODE_BYTES), rows)
        elif width > LONG_VALUE:
            self._check(name, packed, values * width, decoded=True)
        # A dictionary of fewer bytes has no long value.
        if chunk.physical_type == "BYTE_ARRAY" and coded and unpacked > LONG_VALUE:
            width = self._longest(group, column.path)
            if nested and values * width > reading.PIECE_BYTES:
                self._check_lists(name, packed, values * width, rows)
            # All rows together are counted only where they may be too many.
            if width > LONG_VALUE and reading.is_bomb(
                values * width, packed, self.request.document_bytes, decoded=True
            ):
                self._check(name, packed, self._long_bytes(group, column.path), decoded=True)
        return float(max(unpacked, width * values) / rows)

    def _check(self, name: str, packed: int, unpacked: int, *, decoded: bool = False) -> None:
        if reading.is_bomb(unpacked, packed, self.request.document_bytes, decoded=decoded):
            raise reading.bomb(self.request.shard.path, name, packed, unpacked)

    def _check_lists(self, name: str, packed: int, decoded: int, rows: int) -> None:
        # One row may hold all values of the row group: only their sum is known. Masks beside texts are short lists.
        if decoded > reading.DECODED_BYTES or decoded / rows > LONG_VALUE:
            self._check(name, packed, decoded)

    def _longest(self, group: int, path: str) -> int:
        """Return the bytes of the longest value in a column's dictionary: it may stand in every row."""
        first = next(self._coded(group, path, 1), None)
        lengths = None if first is None else arrow_types.value_bytes(first.dictionary)
        return int(lengths.max(initial=0)) if lengths is not None else 0

    def _long_bytes(self, group: int, path: str) -> int:
        """Return the bytes of all values over `LONG_VALUE` together. None is decoded, only its place read."""
        total = 0
        for batch in self._coded(group, path, reading.BATCH_ROWS):
            sizes = arrow_types.encoded_bytes(batch)
            total += 0 if sizes is None else int(sizes[sizes > LONG_VALUE].sum())
        return total

    def _coded(self, group: int, path: str, rows: int) -> Iterator[pa.DictionaryArray]:
        """Yield the values of a column as a dictionary and places in it, as far as the file stores them so."""
        source = files.opened(self.request.shard.path)
        buffer = files.buffer(self.request.shard.path)
        with pq.ParquetFile(
            source, metadata=self.file.metadata, read_dictionary=[path], pre_buffer=False, buffer_size=buffer
        ) as coded:
            for batch in coded.iter_batches(rows, row_groups=[group], columns=[path], use_threads=False):
                for column in batch.columns:
                    yield from _dictionaries(column)


def _dictionaries(column: pa.Array) -> Iterator[pa.DictionaryArray]:
    """Yield the dictionary arrays in a column, which may be nested."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        yield from _dictionaries(column.storage)
    elif pa.types.is_dictionary(kind):
        yield column
    elif pa.types.is_map(kind):
        yield from _dictionaries(column.keys)
        yield from _dictionaries(column.items)
    elif arrow_types.is_list(kind):
        yield from _dictionaries(column.flatten())
    elif pa.types.is_struct(kind):
        for values in column.flatten():
            yield from _dictionaries(values)
