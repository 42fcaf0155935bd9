"""Real text that every machine has: the Python standard library, code and docstrings."""

import ast
import json
import os
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

# Installed packages, tests and tables differ from machine to machine or are not worth reading.
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings"}
SHORTEST = 80  # characters


def write_corpus(path: Path) -> str:
    """Writes {"text": ...} lines to `path`, all or nothing; returns what it wrote, in words."""
    aside = path.with_suffix(".partial")
    documents = characters = 0
    with aside.open("w") as file:
        for text in read_library(Path(sysconfig.get_path("stdlib"))):
            file.write(json.dumps({"text": text}) + "\n")
            documents += 1
            characters += len(text)
    aside.rename(path)
    return f"{documents:,} documents, {characters / 1e6:.1f} M characters"


def read_library(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - SKIPPED)
        for name in sorted(files):
            if name.endswith(".py"):
                path = Path(parent, name)
                yield from read_module(path, path.relative_to(folder))


def read_module(path: Path, name: Path) -> Iterator[str]:
    """One document per top-level function or class, each starting with its file's name.

    No text is in two documents, so what is held out is nowhere else.
    """
    try:
        source = path.read_text(encoding="utf-8")
        with warnings.catch_warnings(action="ignore"):  # old escapes in the library
            module = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError):  # a few files are templates or deliberately odd
        return
    lines = source.splitlines(keepends=True)
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            text = "".join(lines[first - 1 : node.end_lineno])
            if len(text) >= SHORTEST:
                yield f"# {name}\n{text}"
