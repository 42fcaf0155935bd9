"""Small tokenizers of every kind that llama.cpp knows, and what Hugging Face makes of a text."""

import ctypes
import io
import json
import random
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from wf.conformance import TEXTS, FolderTokenizer
from wf.llama import Llama

VOCAB = 700
END, TOOL = "<|end|>", "<tool>"
TEMPLATE = "{{ messages }}"
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def words(digits):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS.replace("DIGITS", digits)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


BYTE_LEVEL = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ),
    "llama-bpe": words(r"\p{N}{1,3}"),
    "smaug-bpe": words(r"\p{N}{1,3}"),
    "qwen2": words(r"\p{N}"),
}


def corpus():
    """The texts themselves, often, and source code: merges that matter to what is compared."""
    return [text for text in TEXTS for _ in range(20)] + [Path(json.__file__).read_text()]


def train(kind, complete=True):
    if kind in BYTE_LEVEL:
        train_byte_level(kind)
    else:
        train_sentencepiece(kind, complete)


def train_byte_level(kind):
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    tokenizer.pre_tokenizer = BYTE_LEVEL[kind]
    tokenizer.decoder = decoders.ByteLevel()
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    if kind == "llama-bpe":
        tokenizer = with_unreachable_word(tokenizer)
        tokenizer.add_special_tokens(["<|begin|>"])  # before every text, as Llama 3
        begin = tokenizer.token_to_id("<|begin|>")
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single="<|begin|> $A", special_tokens=[("<|begin|>", begin)]
                ),
            ]
        )
    tokenizer.add_tokens([TOOL])
    tokenizer.save("tokenizer.json")
    config = {"eos_token": END}
    if kind == "smollm":
        config["chat_template"] = TEMPLATE
    elif kind == "qwen2":
        others = [dict(name="tool_use", template="{{ tools }}")]
        config["chat_template"] = [*others, dict(name="default", template=TEMPLATE)]
    else:
        Path("chat_template.jinja").write_text(TEMPLATE)
    Path("tokenizer_config.json").write_text(json.dumps(config))


def with_unreachable_word(tokenizer):
    """A token that merges do not build: only `ignore_merges` finds it."""
    content = json.loads(tokenizer.to_str())
    model = content["model"]
    model["merges"] = [merge for merge in model["merges"] if "".join(merge) != "Ġlazy"]
    model["vocab"].setdefault("Ġlazy", len(model["vocab"]))
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def train_sentencepiece(kind, complete):
    import sentencepiece

    model = io.BytesIO()
    lines = [line for text in corpus() for line in text.splitlines() if line and "\0" not in line]
    random.Random(0).shuffle(lines)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB,
        byte_fallback=True,
        character_coverage=0.99,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        user_defined_symbols=[TOOL],
        minloglevel=2,
    )
    Path("tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )
    if kind == "sentencepiece":
        Path("tokenizer.model").write_bytes(model.getvalue())
    else:
        write_as_json(kind, model.getvalue(), complete)


def write_as_json(kind, model, complete):
    """A tokenizer.json that splits as the SentencePiece model: all pairs, best token first."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocab = {pieces.id_to_piece(i): i for i in range(pieces.get_piece_size())}
    by_score = sorted(vocab, key=lambda token: -pieces.get_score(vocab[token]))
    merges = [
        (token[:i], token[i:])
        for token in by_score
        if not token.startswith("<0x")
        for i in range(1, len(token))
        if token[:i] in vocab and token[i:] in vocab
    ]
    if not complete:
        seen = set()
        merges = [m for m in merges if "".join(m) not in seen and not seen.add("".join(m))]
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    if kind == "metaspace-json":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.add_tokens([tokenizers.AddedToken(TOOL, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save("tokenizer.json")


def count():
    folder = FolderTokenizer(Path())
    known = folder.model.get_vocab().values() if folder.is_json else [len(folder.model) - 1]
    print(max(known) + 1)


def chat_template() -> bytes | None:
    if (file := Path("chat_template.jinja")).exists():
        return file.read_bytes()
    found = json.loads(Path("tokenizer_config.json").read_text()).get("chat_template")
    if isinstance(found, list):
        (found,) = [entry["template"] for entry in found if entry["name"] == "default"]
    return found and found.encode()


def compare():
    """Prints `same`, or the first difference between Hugging Face and vocabulary.gguf."""
    theirs, ours = FolderTokenizer(Path()), Llama("vocabulary.gguf", vocab_only=True)
    function = ours.library.llama_model_chat_template
    function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_char_p]
    if (template := function(ours.model, None)) != chat_template():
        print(f"llama.cpp's chat template is {template}")
        return
    random_ = random.Random(1)
    everything = "".join(TEXTS)
    texts = [*TEXTS]
    # llama.cpp puts a space after an added token too, where others have one before texts only.
    if theirs.is_json and type(theirs.model.pre_tokenizer).__name__ != "Metaspace":
        texts += [f"before {TOOL} after", f"{TOOL}{TOOL} x"]
    for _ in range(300):  # pieces put together at random: seams that no list foresees
        texts.append("".join(random_.choices(everything, k=random_.randrange(1, 40))))
        start = random_.randrange(len(everything))
        texts.append(everything[start : start + random_.randrange(1, 80)])
    for text in map(theirs.comparable, texts):
        for special in (False, True):
            wanted, got = theirs.ids(text, special), list(ours.tokenize(text, special))
            if wanted != got:
                print(f"{text!r} (special {special}): {wanted} by Hugging Face, {got} by llama.cpp")
                return
    print("same")
