"""Text documents out of .txt, .jsonl (plain, .gz, .zst) and .parquet files."""

import glob
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from wf.error import Error

COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


class SourceError(Error):
    """Something is wrong with an input: it has to change before a new attempt can succeed."""


@dataclass(frozen=True)
class Columns:
    """Which fields of a record make up its text, and what stands between them."""

    names: list[str]
    join: str

    def text(self, record: dict, where: str) -> str:
        """The record's text; a null counts as the empty string."""
        values = []
        for name in self.names:
            if name not in record:
                raise SourceError(f"{where}: {missing_column(name, record)}")
            value = record[name]
            if value is not None and not isinstance(value, str):
                kind = type(value).__name__
                raise SourceError(f"{where}: column '{name}' holds a {kind}, not a string")
            values.append(value or "")
        return self.join.join(values) if any(values) else ""


def missing_column(name: str, present) -> str:
    return f"no column '{name}', only {', '.join(map(str, present))}; choose with --column"


def find_files(inputs: list[str]) -> list[Path]:
    """Files named by paths, directories (recursive) and globs, in a fixed order, each once."""
    files: dict[Path, None] = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if is_visible_source(p, path))
            if not found:
                raise SourceError(f"{name}: no file in this folder ends in {', '.join(SUFFIXES)}")
        elif path.exists():
            found = [path]
        else:
            found = sorted(Path(p) for p in glob.glob(name, recursive=True) if Path(p).is_file())
            if not found:
                raise SourceError(f"{name}: no such file or folder, and no file matches it")
        for file in found:
            if not file.name.endswith(SUFFIXES):
                raise SourceError(f"{file}: unknown kind of file; known: {', '.join(SUFFIXES)}")
            files[file.resolve()] = None
    return list(files)


def is_visible_source(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.name.endswith(SUFFIXES) and path.is_file()


def read_documents(path: Path, columns: Columns) -> Iterator[tuple[str, int]]:
    """Yields (text, how many of the file's bytes are consumed), in the order of the file."""
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty")
    if path.suffix == ".txt":
        yield read_text(path), path.stat().st_size
    elif path.suffix == ".parquet":
        yield from read_parquet(path, columns)
    else:
        yield from read_json_lines(path, columns)


def read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 at byte {error.start}; convert it first") from error


def read_json_lines(path: Path, columns: Columns) -> Iterator[tuple[str, int]]:
    number = 0
    with pa.OSFile(str(path)) as file:
        stream = file
        if path.suffix in COMPRESSION:
            stream = pa.CompressedInputStream(file, COMPRESSION[path.suffix])
        try:
            for number, line in enumerate(io.BufferedReader(stream, 1 << 20), start=1):
                if line.strip():
                    where = f"{path}:{number}"
                    yield columns.text(parse_record(line, where), where), file.tell()
        except OSError as error:  # what Arrow raises for a damaged or truncated stream
            raise SourceError(f"{path}: damaged after line {number}: {error}") from error


def parse_record(line: bytes, where: str) -> dict:
    try:
        record = json.loads(line)
        if SURROGATE.search(line):
            json.dumps(record, ensure_ascii=False).encode()  # half a pair is not text
    except ValueError as error:
        hint = "" if line.endswith(b"\n") else "; is the file truncated?"
        raise SourceError(f"{where}: not valid JSON: {error}{hint}") from error
    if not isinstance(record, dict):
        raise SourceError(f"{where}: a {type(record).__name__}, not a JSON object with columns")
    return record


def read_parquet(path: Path, columns: Columns) -> Iterator[tuple[str, int]]:
    size = path.stat().st_size
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            check_parquet_columns(path, file.schema_arrow, columns)
            total = file.metadata.num_rows
            for batch in file.iter_batches(batch_size=1024, columns=columns.names):
                for record in batch.to_pylist():
                    row += 1
                    yield columns.text(record, f"{path}: row {row}"), size * row // total
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: damaged or truncated after row {row}: {error}") from error


def check_parquet_columns(path: Path, schema: pa.Schema, columns: Columns) -> None:
    for name in columns.names:
        if name not in schema.names:
            raise SourceError(f"{path}: {missing_column(name, schema.names)}")
