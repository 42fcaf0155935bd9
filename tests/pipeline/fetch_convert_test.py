"""wfconvert on a model that lies in the cloud: `wf fetch` does the fetching."""

import os
import subprocess

from conftest import find_programs
from storages import Hub, clean_environment
from validate_test import make_model
from wf.llama import Llama


def test_a_model_in_the_cloud_is_fetched_and_converted(tmp_path):
    model, hub = make_model(tmp_path / "model", True, 0.12), Hub(tmp_path)
    for file in model.iterdir():
        hub.put(f"model/{file.name}", file.read_bytes())
    hub.put("model/optimizer.safetensors", b"moments")
    environment = clean_environment() | hub.environment(hub.port)
    environment |= {"HF_HOME": str(tmp_path / "hf"), "PATH": os.environ["PATH"]}

    def convert(url):
        command = [find_programs() / "wfconvert", url, "-o", tmp_path / "out.gguf"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    result = convert("hf://owner/model")
    assert result.returncode == 0, result.stderr
    with Llama(tmp_path / "out.gguf") as llama:
        assert llama.vocab_size > 0
    fetched = {path.name for path in (tmp_path / "out.source").iterdir()}
    assert {"config.json", "model.safetensors"} <= fetched
    assert "optimizer.safetensors" not in fetched
    result = convert("hf://owner/nothing")
    assert result.returncode == 1
    assert "no such model" in result.stderr
    hub.stop()
