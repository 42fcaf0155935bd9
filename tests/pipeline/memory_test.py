"""The memory that --dry-run prints is the memory that a run takes."""

import json
import re
import subprocess
import time

import pytest
from conftest import MODEL

# Where the memory is: in wide feed-forwards, in a large vocabulary, in many layers.
SHAPES = {
    "wide": dict(vocab_size=4096, hidden_size=512, intermediate_size=1536, num_hidden_layers=6)
    | dict(num_attention_heads=8, num_key_value_heads=4, head_dim=64),
    "vocabulary": dict(vocab_size=32768, hidden_size=128, intermediate_size=384)
    | dict(num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=32),
    "deep": dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], vocab_size=2048)
    | dict(hidden_size=192, intermediate_size=512, num_hidden_layers=16)
    | dict(num_attention_heads=6, num_key_value_heads=2, head_dim=64),
}


def high_water_gb(pid: int) -> float:
    """Of the program alone: wait4's ru_maxrss counts the pages of the process that forked it."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return max(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024e-9
    except (OSError, ValueError):  # it has ended
        return 0.0


@pytest.mark.parametrize("recompute", ["false", "true"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_estimate_is_within_a_tenth_of_the_peak_on_a_cpu(trainer, tmp_path, shape, recompute):
    trainer.model = tmp_path / "model"
    trainer.model.mkdir()
    (trainer.model / "config.json").write_text(json.dumps(MODEL | SHAPES[shape]))
    settings = dict(name="run", steps=2, device="cpu", recompute=recompute)
    settings |= dict(model__init="random", data="{kind: synthetic}", evaluate__path='""')
    settings |= dict(batch__rows=4, batch__sequence_length=512, lr__warmup_steps=0)
    command = trainer.command("stage2", **settings)
    command = [word for word in command if not word.startswith("data.sources=")]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, high_water_gb(process.pid))
        time.sleep(0.005)
    output = log.read_text()
    assert process.returncode == 0, output
    estimate = re.search(r"memory: about ([0-9.]+) GB .* in use before ([0-9.]+)\)", output)
    total, before = map(float, estimate.groups())
    assert peak - before > 0.25  # enough to judge by
    assert total == pytest.approx(peak, rel=0.1)
