"""Third-party emulators of S3 and Google Cloud Storage, a small Hugging Face hub, and a network
that fails."""

import http.server
import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.request
import venv
from pathlib import Path

import pytest
from pyarrow.fs import S3FileSystem

ROOT = Path(__file__).resolve().parents[2]
START_S = 60


def emulator(name: str) -> str:
    """The program, out of an environment of its own that is made on first use."""
    folder, wanted = ROOT / "build" / "emulators", ROOT / "launch" / "requirements-emulators.txt"
    stamp = folder / "stamp"
    if not stamp.is_file() or stamp.read_text() != wanted.read_text():
        venv.create(folder, clear=True, with_pip=True)
        install = [folder / "bin" / "python", "-m", "pip", "install", "-q", "-r", wanted]
        result = subprocess.run(install, capture_output=True, text=True)
        if result.returncode:
            pytest.skip(f"the emulators could not be installed: {result.stderr[-300:]}")
        stamp.write_text(wanted.read_text())
    return str(folder / "bin" / name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Emulator:
    def __init__(self, command: list[str], port: int, log: Path):
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        with log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        pytest.fail(f"{command[0]} did not start: {log.read_text()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(START_S)

    def request(self, method: str, path: str, body: bytes = b"", **headers) -> bytes:
        headers = {"Content-Type": "application/octet-stream"} | headers
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read()


class S3(Emulator):
    scheme = "s3"

    def __init__(self, folder: Path):
        port = free_port()
        command = [emulator("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        super().__init__(command, port, folder / "moto.log")
        self.system = S3FileSystem(
            endpoint_override=self.url,
            access_key="key",
            secret_key="secret",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        self.system.create_dir("bucket")

    def put(self, name: str, content: bytes):
        with self.system.open_output_stream(f"bucket/{name}") as file:
            file.write(content)

    def environment(self, port: int) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def address(self, folder: str) -> str:
        return f"s3://bucket/{folder}"


class Gcs(Emulator):
    scheme = "gs"

    def __init__(self, folder: Path):
        port = free_port()
        command = [emulator("gcp-storage-emulator"), "start", "--host=127.0.0.1"]
        command += [f"--port={port}", "--in-memory", "--default-bucket=bucket"]
        super().__init__(command, port, folder / "gcs.log")

    def put(self, name: str, content: bytes):
        self.request("POST", f"/upload/storage/v1/b/bucket/o?uploadType=media&name={name}", content)

    def environment(self, port: int) -> dict[str, str]:
        return {
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
            "NO_GCE_CHECK": "true",  # no look for credentials in the network
        }

    def address(self, folder: str) -> str:
        return f"gs://bucket/{folder}"


class Hub:
    """The few answers of huggingface.co that its own client asks for; models are `owner/NAME`."""

    scheme = "hf"

    def __init__(self, _: Path):
        self.files: dict[str, bytes] = {}
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                hub.answer(self)

            do_GET = do_POST = do_HEAD

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()

    def put(self, name: str, content: bytes):
        self.files[f"owner/{name}"] = content

    def environment(self, port: int) -> dict[str, str]:
        return {
            "HF_ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def address(self, folder: str) -> str:
        return f"hf://owner/{folder}"

    def entry(self, name: str) -> dict:
        content = self.files[name]
        path = name.split("/", 2)[2]
        oid = f"{hash(content) & (1 << 160) - 1:040x}"
        return {"type": "file", "path": path, "size": len(content), "oid": oid}

    def answer(self, request):
        size = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(size)
        path = urllib.request.unquote(request.path.split("?")[0])
        if model := re.fullmatch(r"/api/models/(owner/[^/]+)(/.*)?", path):
            repository, rest = model[1], model[2] or ""
            names = [name for name in self.files if name.startswith(repository + "/")]
            if not names:
                self.send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif rest.startswith("/tree/"):
                self.send(request, 200, json.dumps([self.entry(name) for name in names]).encode())
            elif rest.startswith("/paths-info/"):
                form = urllib.request.unquote(body.decode())
                found = [self.entry(name) for name in names if name.split("/", 2)[2] in form]
                self.send(request, 200, json.dumps(found).encode())
            else:
                info = {"id": repository, "modelId": repository, "sha": "0" * 40, "siblings": []}
                self.send(request, 200, json.dumps(info).encode())
        elif file := re.fullmatch(r"/(owner/[^/]+)/resolve/[^/]+/(.+)", path):
            self.send_file(request, f"{file[1]}/{file[2]}")
        else:
            self.send(request, 404, b"{}")

    def send_file(self, request, name: str):
        content = self.files[name]
        start, code = 0, 200
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or ""):
            start, code = int(wanted[1]), 206
            content = content[start : int(wanted[2]) + 1 if wanted[2] else None]
        total = len(self.files[name])
        headers = {"ETag": f'"{self.entry(name)["oid"]}"', "X-Repo-Commit": "0" * 40}
        headers["Content-Range"] = f"bytes {start}-{start + len(content) - 1}/{total}"
        self.send(request, code, content, headers)

    def send(self, request, code: int, content: bytes, headers=None):
        request.send_response(code)
        for key, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)


class Network:
    """Passes bytes on to a port until `stalls_after` of them came back; `broken` cuts what it
    would pass on instead. Counts what passed."""

    def __init__(self, port: int):
        self.target, self.passed, self.stalls_after, self.broken = port, 0, None, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.broken:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            for source, sink, back in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.copy, args=(source, sink, back), daemon=True).start()

    def copy(self, source, sink, back):
        try:
            while part := source.recv(65536):
                while self.stalled() and not self.broken:
                    time.sleep(0.05)
                if self.broken:
                    break
                sink.sendall(part)
                if back:
                    self.passed += len(part)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    def stalled(self):
        return self.stalls_after is not None and self.passed >= self.stalls_after

    def heal(self):
        self.stalls_after, self.broken, self.passed = None, False, 0

    def close(self):
        self.heal()
        self.listener.close()


def clean_environment() -> dict[str, str]:
    """Without this machine's own settings for clouds."""
    prefixes = ("AWS_", "HF_", "GOOGLE_", "STORAGE_", "HUGGING")
    return {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
