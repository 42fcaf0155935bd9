"""Stopping and going on: the same losses to the last bit, never silently another run."""

import json
import resource
import shutil
import signal
import subprocess
import time

import pytest

TINY = dict(
    batch__rows=4,
    batch__sequence_length=64,
    steps=24,
    log__every=1,
    evaluate__every=6,
    evaluate__tokens=1024,
    checkpoint__every=10,
    device="cpu",
)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_fresh_process_continues_with_equal_losses(trainer, optimizer):
    """The steps pass several shards of 3000 tokens and, with accumulation, an epoch."""
    settings = TINY | dict(
        optimizer__kind=optimizer,
        batch__accumulate=4,
        quant__weights="{kind: linear, start: 0, value: 1, warmup_steps: 8}",
        quant__activations="{kind: linear, start: 0, value: 1, warmup_steps: 8}",
        clip__z_score=3,
        log__layers_every=6,
    )
    trainer.run("pretrain", name="straight", **settings)
    shutil.copytree(trainer.folder / "straight", trainer.folder / "resumed")
    (trainer.folder / "resumed" / "metrics.jsonl").unlink()
    for later in ("step-00000020", "step-00000024"):
        shutil.rmtree(trainer.folder / "resumed" / "checkpoints" / later)
    output = trainer.run("pretrain", name="resumed", **settings)
    assert "resuming from" in output
    straight, resumed = trainer.losses("straight"), trainer.losses("resumed")
    assert sorted(resumed) == list(range(11, 25))
    assert resumed == {step: straight[step] for step in resumed}
    last = [trainer.metrics(name, "eval")[-1] for name in ("straight", "resumed")]
    assert last[0]["loss_ternary"] == last[1]["loss_ternary"]
    layers = [trainer.metrics(name, "layers")[-1]["layers"] for name in ("straight", "resumed")]
    drifts = [[layer["scale_drift"] for layer in one] for one in layers]
    assert drifts[0] == drifts[1]
    assert all(drift != 0 for drift in drifts[0])
    # What has no part in these losses: statistics of the z-score, which clips from 25 norms on.
    saved = [
        trainer.folder / name / "checkpoints/step-00000024" for name in ("straight", "resumed")
    ]
    for file in ("model.safetensors", "optimizer.safetensors", "state.json"):
        assert (saved[0] / file).read_bytes() == (saved[1] / file).read_bytes()
    counters = json.loads((saved[1] / "state.json").read_text())["integers"]
    assert counters["clip.count"] == counters["step"] == 24


def test_sigterm_saves_exits_143_and_the_same_command_finishes(trainer):
    trainer.run("pretrain", name="straight", **TINY)
    assert trainer.interrupt("pretrain", after_step=3, name="stopped", **TINY) == 143
    stopped_at = max(trainer.losses("stopped"))
    assert stopped_at < 24
    trainer.run("pretrain", name="stopped", **TINY)
    assert trainer.losses("stopped") == trainer.losses("straight")
    assert "finished at step 24" in trainer.run("pretrain", name="stopped", **TINY)


def test_a_checkpoint_carries_the_loss_that_was_measured_on_it_or_none(trainer):
    settings = TINY | dict(checkpoint__every=3, checkpoint__retention__keep_last=8)
    trainer.run("pretrain", name="losses", **settings)
    measured = {record["step"]: record["loss_full"] for record in trainer.metrics("losses", "eval")}
    folders = sorted((trainer.folder / "losses" / "checkpoints").iterdir())
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    assert [manifest["step"] for manifest in manifests] == list(range(3, 25, 3))
    assert [manifest["loss"] for manifest in manifests] == [
        measured.get(step) for step in range(3, 25, 3)
    ]


def test_ctrl_c_in_a_stage_that_has_nothing_to_save_ends_it_at_once(trainer, tmp_path):
    trainer.run("pretrain", name="base", **(TINY | dict(steps=2, lr__warmup_steps=0)))
    trainer.model = trainer.folder / "base"
    settings = {key: value for key, value in TINY.items() if key != "steps"}
    settings |= dict(insert__calibration_steps=5)
    log = tmp_path / "log"
    command = trainer.command("stage1", name="stage1", insert__balance_steps=10**6, **settings)
    with log.open("w") as file, subprocess.Popen(command, stderr=file) as process:
        try:
            while "SubLN with gains of one" not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 143
        finally:
            process.kill()
    assert "nothing was saved" in log.read_text()
    assert "saved" in trainer.run("stage1", name="stage1", insert__balance_steps=5, **settings)


def test_a_second_ctrl_c_ends_at_once_and_harms_no_checkpoint(trainer, tmp_path):
    slow = dict(steps=4, batch__accumulate=64, checkpoint__every=1, lr__warmup_steps=2)
    settings = TINY | slow
    trainer.run("pretrain", name="straight", **settings)
    log = tmp_path / "log"
    command = trainer.command("pretrain", name="twice", **settings)
    with log.open("w") as file, subprocess.Popen(command, stderr=file) as process:

        def wait_for(text):
            while text not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.01)

        try:
            wait_for("step-00000002")
            process.send_signal(signal.SIGINT)
            wait_for("once more to stop at once")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 143
        finally:
            process.kill()
    assert "step-00000003" not in log.read_text()  # the step was not finished
    assert "step-00000002" in trainer.run("pretrain", name="twice", **settings)
    assert trainer.losses("twice") == trainer.losses("straight")


def test_out_of_memory_is_one_sentence_with_what_to_change(trainer):
    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))

    command = trainer.command("pretrain", name="large", **(TINY | dict(batch__rows=65536)))
    result = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("wftrain: out of memory on ")
    assert "lower batch.rows (now 65536)" in last and "recompute=true" in last


def test_a_changed_configuration_is_reported_and_refused_where_it_would_be_wrong(trainer):
    trainer.interrupt("pretrain", after_step=3, name="changed", **TINY)
    for flags in ((), ("--dry-run",)):
        settings = TINY | dict(batch__rows=2)
        output = trainer.run("pretrain", *flags, name="changed", **settings, expect=1)
        assert "batch.rows: 4 -> 2" in output
    for change, reported in (
        (dict(objective__kind="logits_kl", teacher=trainer.model), 'teacher: "" -> '),
        (dict(optimizer__roles__lr_multiplier__norm=0), "lr_multiplier.norm: 1.0 -> 0.0"),
        (dict(quant__weights__value=1), "quant.weights.value: 0.0 -> 1.0"),
    ):
        output = trainer.run("pretrain", name="changed", **(TINY | change), expect=1)
        assert reported in output.split("cannot be continued")[1]
    output = trainer.run("pretrain", name="changed", **(TINY | dict(log__every=2)))
    assert "log.every: 1 -> 2" in output


def test_a_second_process_is_kept_out(trainer):
    long = TINY | dict(steps=100000)
    command = trainer.command("pretrain", name="locked", **long)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        try:
            while not (trainer.folder / "locked" / "metrics.jsonl").exists():
                assert first.poll() is None
            output = trainer.run("pretrain", name="locked", **long, expect=1)
            assert "in use by another process" in output
        finally:
            first.kill()
