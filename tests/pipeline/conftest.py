import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[2]

MODEL = dict(
    model_type="llama",
    architectures=["LlamaForCausalLM"],
    vocab_size=320,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    tie_word_embeddings=True,
    initializer_range=0.05,
    hidden_act="silu",
    eos_token_id=0,
)


def shown_on_terminal(command, size: tuple[int, int] | None = None) -> str:
    """What a command that succeeds shows on a terminal of `size` rows and columns."""
    ours, theirs = pty.openpty()
    if size:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with subprocess.Popen(command, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
    assert process.returncode == 0, shown
    return shown.decode()


def find_programs() -> Path:
    """The build folder: WF_PROGRAMS, or the newest one under build/."""
    if "WF_PROGRAMS" in os.environ:
        return Path(os.environ["WF_PROGRAMS"]).resolve()
    found = sorted(ROOT.glob("build/*/wftrain"), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.skip("wftrain is not built")
    return found[-1].parent


class Trainer:
    """Runs wftrain in a process of its own, as a person would."""

    def __init__(self, folder: Path, model: Path, data: Path):
        self.folder, self.model, self.data = folder, model, data

    def command(self, config: str, **overrides) -> list[str]:
        settings = {
            "folder": self.folder,
            "model.path": self.model,
            "data.sources": f"[{{path: {self.data}/train}}]",
            "evaluate.path": f"{self.data}/held_out",
        } | {key.replace("__", "."): value for key, value in overrides.items()}
        program = str(find_programs() / "wftrain")
        config_file = str(ROOT / "configs" / f"{config}.yaml")
        return [program, "--config", config_file, *(f"{k}={v}" for k, v in settings.items())]

    def run(self, config: str, *flags, expect: int = 0, **overrides) -> str:
        command = [*self.command(config, **overrides), *flags]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert result.returncode == expect, result.stderr + result.stdout
        return result.stderr + result.stdout

    def metrics(self, name: str, kind: str) -> list[dict]:
        lines = (self.folder / name / "metrics.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["kind"] == kind]

    def losses(self, name: str) -> dict[int, float]:
        return {record["step"]: record["loss"] for record in self.metrics(name, "train")}

    def interrupt(self, config: str, after_step: int, **overrides) -> int:
        """Sends SIGTERM when `after_step` is logged; the exit code."""
        process = subprocess.Popen(self.command(config, **overrides), stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if max(self.losses(overrides["name"]), default=0) >= after_step:
                    break
            except (FileNotFoundError, json.JSONDecodeError):
                pass
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=60)


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> tuple[Path, Path]:
    """A model folder with a tokenizer, and prepared data of several small shards."""
    folder = tmp_path_factory.mktemp("source")
    texts = [path.read_text() for path in sorted(Path(json.__file__).parent.glob("*.py"))]
    texts += [f"Document {i}: " + " ".join(str(i * k) for k in range(i % 40)) for i in range(400)]
    corpus = folder / "corpus.jsonl"
    corpus.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(MODEL))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MODEL["vocab_size"],
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(model / "tokenizer.json"))
    (model / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|end|>", "tokenizer_class": "PreTrainedTokenizerFast"})
    )
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}<|end|>")
    (model / "generation_config.json").write_text(json.dumps({"max_new_tokens": 7}))
    data = folder / "data"
    subprocess.run(
        [sys.executable, "-m", "wf", "data", "prepare", str(corpus), "--tokenizer", str(model)]
        + ["-o", str(data), "--held-out", "0.1", "--shard-tokens", "3000"],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "launch")},
    )
    return model, data


@pytest.fixture
def trainer(source, tmp_path) -> Trainer:
    return Trainer(tmp_path / "run", *source)
