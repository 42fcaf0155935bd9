"""wf data prepare: what it writes equals tokenizers' own encoding, document by document."""

import gzip
import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from texts import EOS, make_texts, write_jsonl
from tokenizers import Tokenizer
from wf.token_folder import TokenFolder


def read(folder) -> list[list[int]]:
    data = TokenFolder(folder)
    data.verify()
    return [data.document(i).tolist() for i in range(data.manifest["documents"])]


def expected(tokenizer_folder, texts) -> list[list[int]]:
    """Each text encoded alone, plus EOS."""
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    eos = tokenizer.token_to_id(EOS)
    return [tokenizer.encode(text, add_special_tokens=False).ids + [eos] for text in texts]


def write_source(kind: str, path, texts):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    if kind == ".jsonl":
        path.write_bytes(lines)
    elif kind == ".jsonl.gz":
        path.write_bytes(gzip.compress(lines))
    elif kind == ".jsonl.zst":  # two frames one after the other, as parallel compressors write
        middle = lines.index(b"\n") + 1
        path.write_bytes(zstandard.compress(lines[:middle]) + zstandard.compress(lines[middle:]))
    else:
        pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=7)


@pytest.mark.parametrize("kind", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_each_document_is_tokenizers_own_encoding(wf, tmp_path, tokenizer_folder, kind):
    texts = make_texts(100)
    source = tmp_path / f"source{kind}"
    write_source(kind, source, texts)
    out = tmp_path / "out"
    wf("data", "prepare", source, "--tokenizer", tokenizer_folder, "-o", out, "--shard-tokens", 900)
    assert read(out) == expected(tokenizer_folder, texts)
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["shards"]) > 3
    assert all(shard["tokens"] >= 900 for shard in manifest["shards"][:-1])
    assert manifest["sources"] == [
        {"name": source.name, "documents": 100, "characters": sum(map(len, texts))}
    ]


def test_manifest_describes_the_files(wf, tmp_path, tokenizer_folder):
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(20))
    out = tmp_path / "out"
    wf("data", "prepare", source, "--tokenizer", tokenizer_folder, "-o", out)
    manifest = json.loads((out / "manifest.json").read_text())
    tokenizer = (tokenizer_folder / "tokenizer.json").read_bytes()
    tokens = (out / "00000.tokens").read_bytes()
    offsets = np.fromfile(out / "00000.documents", "<u8")
    (shard,) = manifest["shards"]
    assert manifest["format"] == "wf-tokens" and manifest["version"] == 1
    assert manifest["dtype"] == "uint16" and manifest["vocab_size"] == 300
    assert manifest["eos_token_id"] == 0 and manifest["columns"] == ["text"]
    assert manifest["tokenizer_sha256"] == hashlib.sha256(tokenizer).hexdigest()
    assert shard["tokens_sha256"] == hashlib.sha256(tokens).hexdigest()
    assert shard["documents_sha256"] == hashlib.sha256(offsets.tobytes()).hexdigest()
    assert manifest["tokens"] == shard["tokens"] == len(tokens) // 2 == offsets[-1]
    assert manifest["documents"] == shard["documents"] == 20 == len(offsets) - 1
    assert sorted(path.name for path in out.iterdir()) == [
        "00000.documents",
        "00000.tokens",
        "chat_template.jinja",
        "manifest.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_folders_globs_and_text_files(wf, tmp_path, tokenizer_folder):
    texts = make_texts(4)
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.txt").write_text(texts[0])
    (folder / "deep" / "b.txt").write_text(texts[1] + "\r\nsecond line")
    (folder / "notes.md").write_text("not a source")
    (folder / ".hidden" / "c.txt").write_text("not seen")
    write_jsonl(tmp_path / "x1.jsonl", texts[2:3])
    write_jsonl(tmp_path / "x2.jsonl", texts[3:4])
    out = tmp_path / "out"
    inputs = [folder, tmp_path / "x*.jsonl", tmp_path / "x1.jsonl"]
    wf("data", "prepare", *inputs, "--tokenizer", tokenizer_folder, "-o", out)
    texts[1] = (folder / "deep" / "b.txt").read_bytes().decode()
    assert read(out) == expected(tokenizer_folder, texts)


def test_columns_are_joined(wf, tmp_path, tokenizer_folder):
    source = tmp_path / "qa.jsonl"
    source.write_text(
        '{"question": "Why?", "answer": "So."}\n{"question": "Who?", "answer": null}\n'
    )
    out = tmp_path / "out"
    columns = ["--column", "question", "--column", "answer", "--join", r"\n\n"]
    wf("data", "prepare", source, *columns, "--tokenizer", tokenizer_folder, "-o", out)
    assert read(out) == expected(tokenizer_folder, ["Why?\n\nSo.", "Who?\n\n"])


def test_special_tokens_in_text_stay_text(wf, tmp_path, tokenizer_folder):
    text = f"before {EOS} after <pad>"
    source = write_jsonl(tmp_path / "a.jsonl", [text])
    out = tmp_path / "out"
    wf("data", "prepare", source, "--tokenizer", tokenizer_folder, "-o", out)
    (document,) = read(out)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert [token for token in document if token < 2] == [0]  # the one at the end
    assert tokenizer.decode(document[:-1]) == text


def test_truncation_and_templates_of_the_tokenizer_do_not_apply(wf, tmp_path, tokenizer_folder):
    from tokenizers.processors import TemplateProcessing

    changed = tmp_path / "tokenizer"
    changed.mkdir()
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=500)
    tokenizer.post_processor = TemplateProcessing(single="<pad> $A", special_tokens=[("<pad>", 1)])
    tokenizer.save(str(changed / "tokenizer.json"))
    texts = make_texts(3)
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    out = tmp_path / "out"
    wf("data", "prepare", source, "--tokenizer", changed, "--eos", EOS, "-o", out)
    assert read(out) == expected(tokenizer_folder, texts)


def test_large_vocabularies_take_uint32(wf, tmp_path, tokenizer_folder):
    large = tmp_path / "tokenizer"
    large.mkdir()
    description = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    end = {**description["added_tokens"][0], "id": 70000, "content": "<end>"}
    description["added_tokens"].append(end)
    description["model"]["vocab"]["<end>"] = 70000
    (large / "tokenizer.json").write_text(json.dumps(description))
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(2))
    out = tmp_path / "out"
    wf("data", "prepare", source, "--tokenizer", large, "--eos", "<end>", "-o", out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["dtype"] == "uint32" and manifest["vocab_size"] == 70001
    assert all(document[-1] == 70000 for document in read(out))


def test_the_number_of_workers_changes_nothing(wf, tmp_path, tokenizer_folder):
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(3000))
    hashes = []
    for workers in (1, 3):
        out = tmp_path / f"out{workers}"
        options = ["--workers", workers, "--held-out", 0.1, "--shard-tokens", 20000]
        wf("data", "prepare", source, "--tokenizer", tokenizer_folder, "-o", out, *options)
        manifests = [out / side / "manifest.json" for side in ("train", "held_out")]
        hashes.append([manifest.read_text() for manifest in manifests])
    assert hashes[0] == hashes[1]


def test_held_out_documents_are_never_in_training(wf, tmp_path, tokenizer_folder):
    texts = make_texts(1000)
    write_jsonl(tmp_path / "a.jsonl", texts)
    write_jsonl(tmp_path / "b.jsonl", texts[::-1])  # every document twice
    out = tmp_path / "out"
    inputs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    options = ["--tokenizer", tokenizer_folder, "-o", out, "--held-out", 0.1]
    wf("data", "prepare", *inputs, *options)
    train = {tuple(document) for document in read(out / "train")}
    held_out = {tuple(document) for document in read(out / "held_out")}
    assert not train & held_out
    assert len(train) + len(held_out) == 1000
    assert 60 < len(held_out) < 140


def test_real_text_round_trips(wf, tmp_path, test_data):
    with (test_data / "prose.train.jsonl").open() as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(100), strict=False)]
    source = write_jsonl(tmp_path / "prose.jsonl", texts)
    out = tmp_path / "out"
    folder = test_data / "tokenizers/gpt2"
    wf("data", "prepare", source, "--tokenizer", folder, "-o", out, "--shard-tokens", 20000)
    documents = read(out)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert documents == expected(folder, texts)
    assert [tokenizer.decode(document[:-1]) for document in documents] == texts
