"""wf data prepare: every wrong input is one sentence that says where."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from texts import make_texts, write_jsonl


@pytest.fixture
def fails(wf, tmp_path, tokenizer_folder):
    """Prepares into tmp_path/out, which must fail and leave nothing; returns the sentence."""

    def run(*inputs, options=(), tokenizer=tokenizer_folder):
        out = tmp_path / "out"
        arguments = [*inputs, "--tokenizer", tokenizer, "-o", out, *options]
        result = wf("data", "prepare", *arguments, expect=1)
        assert not out.exists()
        assert not (tmp_path / "out.partial").exists()
        return result.stderr

    return run


def test_wrong_column(fails, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", ["one"])
    with source.open("a") as file:
        file.write('{"txt": "two", "id": 3}\n')
    assert "a.jsonl:2: no column 'text', only txt, id; choose with --column" in fails(source)
    pq.write_table(pa.table({"content": ["a"]}), tmp_path / "a.parquet")
    assert "a.parquet: no column 'text', only content" in fails(tmp_path / "a.parquet")


def test_column_of_another_type(fails, tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": "fine"}\n\n{"text": ["a", "b"]}\n')
    assert "a.jsonl:3: column 'text' holds a list, not a string" in fails(source)


@pytest.mark.parametrize(
    "line, where",
    [
        ('{"text": "cut of', "is the file truncated?"),
        ('["text"]\n', "a list, not a JSON object"),
        ('{"text": "\\ud800"}\n', "surrogates not allowed"),
    ],
)
def test_bad_line(fails, tmp_path, line, where):
    source = write_jsonl(tmp_path / "a.jsonl", ["one", "two"])
    with source.open("a") as file:
        file.write(line)
    message = fails(source)
    assert "a.jsonl:3: " in message and where in message


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_truncated_compressed_file(fails, tmp_path, kind):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in make_texts(2000)).encode()
    whole = gzip.compress(lines) if kind == "gz" else zstandard.compress(lines)
    source = tmp_path / f"a.jsonl.{kind}"
    source.write_bytes(whole[: len(whole) // 2])
    message = fails(source)
    assert f"a.jsonl.{kind}: damaged after line " in message and "Truncated" in message


def test_damaged_compressed_file(fails, tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(b"this is not gzip at all")
    assert "a.jsonl.gz: damaged after line 0" in fails(tmp_path / "a.jsonl.gz")


def test_truncated_parquet(fails, tmp_path):
    source = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": make_texts(500)}), source)
    source.write_bytes(source.read_bytes()[:-100])
    assert "a.parquet: damaged or truncated" in fails(source)


def test_empty_sources(fails, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert "empty.jsonl: the file is empty" in fails(tmp_path / "empty.jsonl")
    write_jsonl(tmp_path / "hollow.jsonl", ["", ""])
    assert "every document is empty" in fails(tmp_path / "hollow.jsonl")
    (tmp_path / "folder").mkdir()
    assert "no file in this folder ends in .txt" in fails(tmp_path / "folder")


def test_no_such_or_unknown_file(fails, tmp_path):
    assert "nowhere.txt: no such file" in fails(tmp_path / "nowhere.txt")
    assert "*.zip: no such file or folder, and no file matches" in fails(tmp_path / "*.zip")
    (tmp_path / "a.csv").write_text("a,b")
    assert "a.csv: unknown kind of file; known: .txt" in fails(tmp_path / "a.csv")


def test_text_that_is_not_utf8(fails, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    assert "a.txt: not UTF-8 at byte 3" in fails(tmp_path / "a.txt")


def test_unknown_eos(fails, tmp_path, tokenizer_folder):
    source = write_jsonl(tmp_path / "a.jsonl", ["one"])
    message = fails(source, options=["--eos", "</s>"])
    assert "no token '</s>'" in message and "--eos among <|endoftext|>, <pad>" in message
    alone = tmp_path / "alone.json"
    alone.write_bytes((tokenizer_folder / "tokenizer.json").read_bytes())
    message = fails(source, tokenizer=alone)
    assert "no file beside it names an eos_token" in message and "<|endoftext|>" in message
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert "tokenizer_config.json: not valid JSON" in fails(source, tokenizer=alone)


def test_not_a_tokenizer(fails, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", ["one"])
    assert "no such file; --tokenizer takes" in fails(source, tokenizer=tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "not a Hugging Face tokenizer.json" in fails(source, tokenizer=tmp_path)


def test_held_out_share_that_takes_nothing(fails, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", ["one", "two"])
    assert "of 2 documents leaves held_out empty" in fails(source, options=["--held-out", "1e-9"])


def test_existing_folder(wf, tmp_path, tokenizer_folder):
    source = write_jsonl(tmp_path / "a.jsonl", ["one"])
    out = tmp_path / "out"
    out.mkdir()
    arguments = [source, "--tokenizer", tokenizer_folder, "-o", out]
    assert "out: already exists" in wf("data", "prepare", *arguments, expect=1).stderr
    assert not any(out.iterdir())


def test_usage(wf):
    assert "--tokenizer" in wf("data", "prepare", "a.txt", expect=2).stderr
    assert (
        "is not between 0 and 1"
        in wf(
            "data", "prepare", "a", "--tokenizer", "t", "-o", "o", "--held-out", "2", expect=2
        ).stderr
    )
