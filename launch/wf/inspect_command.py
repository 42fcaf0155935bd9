"""`wf data inspect`: what is in a folder of prepared tokens, and whether it is intact."""

from pathlib import Path

from wf.error import Error
from wf.token_folder import TokenFolder
from wf.tokenizer import load_tokenizer

SAMPLE_CHARACTERS = 400
SOURCES_SHOWN = 10


def add_to(commands) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show and check prepared data",
        description="Prints what a prepared folder holds and decodes some documents, evenly "
        "spaced. File sizes are always checked. Exit code 1 names the first damaged file.",
    )
    parser.add_argument("folder", type=Path, help="what `wf data prepare -o` wrote")
    parser.add_argument("--samples", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read every byte: checksums, offsets, range of ids, EOS at the end of each document",
    )
    parser.set_defaults(run=run)


def run(options) -> None:
    for folder in find_folders(options.folder):
        data = TokenFolder(folder)
        print_manifest(data)
        if options.verify:
            data.verify()
            print("  verified: checksums, offsets, ids, ends of documents")
        print_samples(data, options.samples)


def find_folders(folder: Path) -> list[Path]:
    """The folder itself, or the two halves that --held-out made."""
    if not folder.is_dir():
        raise Error(f"{folder}: no such folder")
    halves = [folder / "train", folder / "held_out"]
    return halves if all((half / "manifest.json").is_file() for half in halves) else [folder]


def print_manifest(data: TokenFolder) -> None:
    manifest = data.manifest
    print(f"{data.folder}")
    print(f"  {manifest['documents']:,} documents, {manifest['tokens']:,} tokens", end=", ")
    print(f"{manifest['dtype']}, shards: {len(data.shards)}")
    print(f"  vocabulary {manifest['vocab_size']:,}, EOS {manifest['eos_token_id']}", end=", ")
    print(f"tokenizer sha256 {manifest['tokenizer_sha256'][:16]}…")
    print(f"  columns: {', '.join(manifest['columns'])}")
    sources = manifest["sources"]
    if len(sources) > SOURCES_SHOWN:
        sources = sorted(sources, key=lambda source: -source["characters"])
    for source in sources[:SOURCES_SHOWN]:
        print_source(source["name"], [source])
    if rest := sources[SOURCES_SHOWN:]:
        print_source(f"{len(rest):,} smaller ones", rest)


def print_source(name: str, sources: list[dict]) -> None:
    documents, characters = (sum(s[key] for s in sources) for key in ("documents", "characters"))
    print(f"  {name}: {documents:,} documents, {characters:,} characters")


def print_samples(data: TokenFolder, samples: int) -> None:
    tokenizer = load_tokenizer(data.folder / "tokenizer.json")
    documents = data.manifest["documents"]
    samples = min(samples, documents)
    for number in (i * documents // samples for i in range(samples)):
        tokens = data.document(number).tolist()
        text = tokenizer.decode(tokens, skip_special_tokens=False)
        shown = text if len(text) <= SAMPLE_CHARACTERS else text[:SAMPLE_CHARACTERS] + " …"
        print(f"  --- document {number:,}, {len(tokens):,} tokens")
        print("  " + shown.replace("\n", "\n  "))
