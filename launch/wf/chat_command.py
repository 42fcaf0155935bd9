"""`wf chat`: a prompt to a running server, the answer as it is written."""

import json
import sys
import urllib.error
import urllib.request

from wf.argument import positive
from wf.error import Error

DESCRIPTION = """Sends a prompt to a server (`wf serve`, or any other of OpenAI's kind) and writes
the answer as it comes. Without a prompt it reads them from standard input, one a line, as one
conversation. --raw sends the text as it is and has it continued, which suits a model that was not
trained to chat."""


def add_to(commands) -> None:
    parser = commands.add_parser("chat", help="send a prompt to a server", description=DESCRIPTION)
    parser.add_argument("prompt", nargs="?", metavar="PROMPT")
    parser.add_argument("--url", default="http://127.0.0.1:30000", help="default: %(default)s")
    parser.add_argument("--raw", action="store_true", help="continue the text, without a template")
    parser.add_argument("--system", metavar="TEXT", help="what the model is told first")
    parser.add_argument(
        "--max-tokens", type=positive, default=256, metavar="N", help="default: 256"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="0, the default, always takes the likeliest token; 1 samples as the model predicts",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sampling (default: 0)")
    parser.add_argument("--api-key", metavar="KEY", help="if the server asks for one")
    parser.set_defaults(run=run)


def run(options) -> None:
    if options.raw and options.system:
        raise Error("--system needs the chat template that --raw leaves out; drop one of them")
    messages = [{"role": "system", "content": options.system}] if options.system else []
    for prompt in prompts(options.prompt):
        if options.raw:
            request, path = {"prompt": prompt}, "/v1/completions"
        else:
            messages.append({"role": "user", "content": prompt})
            request, path = {"messages": messages}, "/v1/chat/completions"
        answer = ""
        for text in stream(options, path, request):
            answer += text
            sys.stdout.write(text)
            sys.stdout.flush()
        print(flush=True)
        messages.append({"role": "assistant", "content": answer})


def prompts(given: str | None):
    if given is not None:
        yield given
        return
    while True:
        if sys.stdin.isatty():
            sys.stdout.write("> ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")


def stream(options, path: str, request: dict):
    """The answer's pieces, from the server's events."""
    request |= {
        "stream": True,
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "seed": options.seed,
    }
    headers = {"Content-Type": "application/json"}
    if options.api_key:
        headers["Authorization"] = f"Bearer {options.api_key}"
    for event in events(options.url.rstrip("/") + path, json.dumps(request).encode(), headers):
        if "error" in event:
            raise Error(f"{options.url}: {event['error'].get('message', event['error'])}")
        for choice in event.get("choices", []):
            if text := choice.get("text") or choice.get("delta", {}).get("content"):
                yield text


def events(url: str, body: bytes, headers: dict):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            for line in answer:
                kind, _, data = line.decode().partition(":")
                if kind == "data" and data.strip() != "[DONE]":
                    yield json.loads(data)
    except urllib.error.HTTPError as error:
        raise Error(f"{url}: {explanation(error)}") from error
    except urllib.error.URLError as error:
        raise Error(f"{url}: {error.reason}; is `wf serve` running there?") from error
    except ValueError as error:
        raise Error(f"{url}: not a server of OpenAI's kind ({error})") from error


def explanation(error: urllib.error.HTTPError) -> str:
    try:
        return json.loads(error.read())["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
