"""`wf serve`: an OpenAI-compatible server for a GGUF file."""

import argparse
import shutil
import signal
from pathlib import Path

from wf.argument import positive
from wf.error import Error

DESCRIPTION = """Serves a GGUF file over HTTP as OpenAI does (/v1/chat/completions, /v1/completions,
/v1/models), until Ctrl-C. The engine is llama-server when it is installed, else llama.cpp from the
Python package xllamacpp."""


def add_to(commands) -> None:
    parser = commands.add_parser("serve", help="serve a GGUF file", description=DESCRIPTION)
    parser.add_argument("file", type=Path, metavar="MODEL.gguf", help="what wfconvert wrote")
    parser.add_argument(
        "--port", type=port_number, default=30000, help="default: 30000; 0: a free one"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine only; 0.0.0.0: everyone who "
        "can reach it, without a password)",
    )
    parser.add_argument(
        "--server",
        metavar="PROGRAM",
        help="llama-server to use (default: the one on PATH; 'xllamacpp': never one)",
    )
    parser.add_argument(
        "--context", type=positive, metavar="N", help="tokens per request (default: the model's)"
    )
    parser.add_argument(
        "--parallel", type=positive, default=1, metavar="N", help="requests at once (default: 1)"
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="default: every core; one for a small model"
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="keys and values in f32 and no flash attention: an f32 file is computed in fp32",
    )
    parser.add_argument("--verbose", action="store_true", help="show what the engine writes")
    parser.set_defaults(run=run)


def port_number(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port; expected 0 to 65535")
    return int(text)


def find_program(wanted: str | None) -> str | None:
    """The llama-server to run, or None for xllamacpp's."""
    if wanted == "xllamacpp":
        return None
    found = shutil.which(wanted or "llama-server")
    if wanted and not found:
        raise Error(f"{wanted}: no such program; --server takes the path of a llama-server")
    return found


def run(options) -> None:
    from wf.server import Server

    program = find_program(options.server)

    def stop(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    with Server(
        options.file,
        program=program,
        host=options.host,
        port=options.port,
        context=options.context,
        parallel=options.parallel,
        threads=options.threads,
        exact=options.exact,
        verbose=options.verbose,
    ) as server:
        print(f"engine: {program or 'xllamacpp'}")
        print(f"serving {options.file} at {server.url}; Ctrl-C stops", flush=True)
        print(f'try: wf chat --url {server.url} "Hello"', flush=True)
        server.wait()
