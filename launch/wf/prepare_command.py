"""`wf data prepare`: the command line of Preparation."""

import argparse
import os
from pathlib import Path

from wf.argument import positive
from wf.prepare import Preparation
from wf.source import Columns

DESCRIPTION = """\
Turns text into token shards for the trainer.

INPUTs are files, folders (searched recursively) and globs:
  .txt                        the whole file is one document
  .jsonl, .jsonl.gz/.zst      one JSON object a line
  .parquet                    one row a document

Every document ends with the EOS token. Text that looks like a special token ("<|endoftext|>") is
encoded as ordinary text, and no BOS is added. Empty documents are skipped and counted.

OUT appears when it is complete; until then the work is in OUT.partial. Interrupted (Ctrl-C, kill,
power), the same command continues at the last finished shard. An error in the inputs removes
OUT.partial."""

EPILOG = """\
examples:
  wf data prepare corpus/ --tokenizer model/ -o data/corpus --held-out 0.005
  wf data prepare 'math/*.jsonl.zst' --column question --column answer --join '\\n' \\
      --tokenizer model/tokenizer.json -o data/math"""


def add_to(commands) -> None:
    parser = commands.add_parser(
        "prepare",
        help="turn text into token shards",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="file, folder or glob")
    add("--tokenizer", required=True, metavar="FILE|FOLDER", help="a Hugging Face tokenizer.json")
    add("-o", "--out", required=True, type=Path, help="folder to write; must not exist")
    add(
        "--column",
        action="append",
        metavar="NAME",
        help="column that holds the text (default: text); several are joined in the order given",
    )
    add("--join", default="\n", type=unescape, help=r"between columns; \n and \t work (default \n)")
    add(
        "--held-out",
        default=0.0,
        type=share,
        metavar="SHARE",
        help="write OUT/train and OUT/held_out; a hash of its text decides a document's side, so "
        "duplicates are never on both (0.005: about one in 200 documents)",
    )
    add("--eos", metavar="TOKEN", help="ends each document (default: the tokenizer's eos_token)")
    add(
        "--workers",
        default=len(os.sched_getaffinity(0)),
        type=positive,
        metavar="N",
        help="encoding processes (default: one per core)",
    )
    add(
        "--shard-tokens",
        default=1 << 26,
        type=positive,
        metavar="N",
        help="a shard ends with the document that reaches this (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def unescape(text: str) -> str:
    return text.replace(r"\n", "\n").replace(r"\t", "\t")


def share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def run(options) -> None:
    Preparation(
        inputs=options.inputs,
        columns=Columns(options.column or ["text"], options.join),
        tokenizer=options.tokenizer,
        eos=options.eos,
        out=options.out,
        held_out=options.held_out,
        workers=options.workers,
        shard_tokens=options.shard_tokens,
    ).run()
