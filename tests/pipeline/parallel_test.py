"""Two processes train as one does."""

import os
import signal
import socket
import subprocess
import sys

import pytest

TINY = dict(
    batch__sequence_length=64,
    batch__accumulate=2,
    steps=12,
    lr__warmup_steps=2,
    log__every=1,
    evaluate__every=12,
    evaluate__tokens=1024,
    device="cpu",
    compute="fp64",  # in fp32 at λ = 1 a last bit flips a code, and losses part at 1e-4
)


# Sums in another order differ by 1e-16, which AdamW, dividing by its 1e-8, makes 1e-8 of a step;
# at λ = 1 that is enough to flip a code now and then.
@pytest.mark.parametrize(("quant", "tolerance"), [(0, 1e-9), (1, 1e-5)])
def test_two_gloo_processes_equal_one_with_twice_the_rows(trainer, quant, tolerance):
    settings = TINY | dict(quant__weights__value=quant, quant__activations__value=quant)
    trainer.run("pretrain", name="one", batch__rows=8, **settings)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone"]
    command = trainer.command("pretrain", name="two", batch__rows=4, **settings)
    result = subprocess.run(
        [*launcher, "--nproc-per-node", "2", *command],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    one, two = trainer.losses("one"), trainer.losses("two")
    assert sorted(one) == sorted(two) == list(range(1, 13))
    for step, loss in one.items():
        assert two[step] == pytest.approx(loss, rel=tolerance), f"step {step}"
    held_out = [trainer.metrics(name, "eval")[-1]["loss_full"] for name in ("one", "two")]
    assert held_out[0] == pytest.approx(held_out[1], rel=tolerance)


def test_a_process_that_still_waits_for_the_others_stops_at_once(trainer):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": str(port)}
    with subprocess.Popen(
        trainer.command("pretrain", name="alone", **TINY),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as process:
        try:
            assert process.stderr.readline().startswith("device:")  # what it says before it waits
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 143
    assert "nothing was saved" in said
