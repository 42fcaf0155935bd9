"""`wf fetch`: a model folder from a bucket or from Hugging Face."""

import os
import sys
import threading
from contextlib import closing
from pathlib import Path

DESCRIPTION = """Downloads a model folder: configuration, weights (.safetensors) and tokenizer.
State of the optimizer, pickled weights and everything else stay where they are. Interrupted, the
same command goes on where it stopped; run again, it fetches only what has changed. Every file is
checked against its size and appears only when whole, config.json last."""
URLS = """sources and the settings they follow:
  hf://OWNER/MODEL[@REVISION][/FOLDER]   HF_TOKEN, HF_ENDPOINT
  gs://BUCKET/FOLDER   GOOGLE_APPLICATION_CREDENTIALS, STORAGE_EMULATOR_HOST
  s3://BUCKET/FOLDER   AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_REGION,
                       AWS_ENDPOINT_URL (for storages of Amazon's kind)"""


def add_to(commands) -> None:
    import argparse

    parser = commands.add_parser(
        "fetch",
        help="download a model folder",
        description=DESCRIPTION,
        epilog=URLS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="hf://, gs:// or s3:// folder")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="is made if needed")
    parser.set_defaults(run=run)


class Progress:
    """A bar on a terminal; in a file one line a fetched file."""

    def __init__(self):
        self.bar = None

    def start(self, total: int) -> None:
        from tqdm import tqdm

        hidden = None if sys.stderr.isatty() else True
        self.bar = tqdm(total=total, unit="B", unit_scale=True, disable=hidden)

    def add(self, name: str, size: int) -> None:
        if self.bar is not None:
            self.bar.set_description(name)
            self.bar.update(size)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def run(options) -> None:
    from wf.fetch import Fetch

    try:
        with closing(Progress()) as progress:
            interruptibly(Fetch(options.url, options.folder, progress).run)
    except KeyboardInterrupt:
        print("\nwf: interrupted; the same command goes on from here", file=sys.stderr, flush=True)
        os._exit(130)  # an ordinary exit would wait for a transfer that has stalled
    print(options.folder)


def interruptibly(work) -> None:
    """Does `work` in another thread: this one would not see Ctrl-C inside pyarrow's calls."""
    failures = []

    def watched():
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=watched, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if failures:
        raise failures[0]
