"""`wf logits`: what llama.cpp computes of a GGUF file."""

from pathlib import Path

from wf.argument import positive
from wf.error import Error

DESCRIPTION = """Evaluates a text with llama.cpp on the CPU, keys and values in f32, and prints its
tokens with the likeliest next one of each. `wfconvert --validate` asks this way."""


def add_to(commands) -> None:
    parser = commands.add_parser("logits", help="evaluate a GGUF file", description=DESCRIPTION)
    parser.add_argument("file", type=Path, metavar="MODEL.gguf")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--text", help="to be tokenised by llama.cpp, without a BOS")
    given.add_argument("--tokens", metavar="IDS", help="comma-separated")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="fail unless the file's tokens are those of this folder's tokenizer.json or "
        "tokenizer.model, on texts that tell tokenizers apart",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="evaluate the first N tokens only"
    )
    parser.add_argument(
        "--greedy", type=positive, default=0, metavar="N", help="also continue by N tokens"
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE.safetensors",
        help="write `tokens` [T] i64, `logits` [T, vocabulary] f32 and `greedy` [N] i64",
    )
    parser.set_defaults(run=run)


def run(options) -> None:
    from wf.llama import Llama

    with Llama(options.file) as llama:
        if options.tokenizer:
            check_tokenizer(llama, options.tokenizer)
        tokens = (
            parse(options.tokens) if options.tokens is not None else llama.tokenize(options.text)
        )
        tokens = tokens[: options.limit]
        if not tokens:
            raise Error("no tokens to evaluate; give a text that is not empty")
        logits = llama.logits(tokens)
        greedy = llama.greedy(tokens, options.greedy) if options.greedy else []
    if options.out:
        write(options.out, tokens, logits, greedy)
    print("tokens", *tokens)
    print("next  ", *logits.argmax(1).tolist())
    if greedy:
        print("greedy", *greedy)


def check_tokenizer(llama, folder: Path) -> None:
    from wf.conformance import TEXTS, FolderTokenizer

    tokenizer = FolderTokenizer(folder)
    for text in map(tokenizer.comparable, TEXTS):
        wanted = tokenizer.ids(text)
        if wanted != (got := llama.tokenize(text)):
            raise Error(f"{text!r} is {got} by llama.cpp and {wanted} by {tokenizer.file}")


def parse(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise Error(f"--tokens '{text}': expected numbers with commas between") from error


def write(path: Path, tokens, logits, greedy) -> None:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    integers = {"tokens": tokens, "greedy": greedy}
    tensors = {name: np.array(ids, np.int64) for name, ids in integers.items()}
    try:
        save_file(tensors | {"logits": logits}, path)
    except SafetensorError as error:
        raise Error(f"{path}: cannot be written: {error}") from error
