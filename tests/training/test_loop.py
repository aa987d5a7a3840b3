"""A killed run goes on exactly: same losses, same weights, to the last bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diptych.core.errors import CheckpointError
from diptych.training.config import OptimizerConfig, StageConfig
from diptych.training.features import extract
from diptych.training.log import MetricLog
from diptych.training.loop import NotFiniteError, Stage, run
from diptych.training.optimizer import adamw
from diptych.training.schedule import warmup_cosine

STEPS = 24


def toy_stage(steps: int = STEPS, identity: str = "toy", poison: int | None = None) -> Stage:
    """A regression with dropout: it would differ at once if a batch or a dropout mask did."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def batch(step):
        x = np.random.default_rng([7, step]).normal(size=(16, 4)).astype(np.float32)
        return torch.from_numpy(x * (np.nan if step == poison else 1.0)).float()

    def losses(x):
        return {"loss": ((model(x)[:, 0] - x.sum(1)) ** 2).mean()}

    config = StageConfig(steps=steps, batch=16, log_every=1, checkpoint_every=5, evaluate_every=10, bf16=False,
                         optimizer=OptimizerConfig(lr=1e-2, warmup_steps=4))
    return Stage(name="toy", config=config, model=model, optimizer=adamw(model, config.optimizer), batch=batch,
                 losses=losses, seed=3, identity=identity)


def curve(folder: Path) -> list[tuple[float, float]]:
    return [(r["step"], r["loss"]) for r in MetricLog(folder / "metrics.jsonl").read() if r["stage"] == "toy"]


@pytest.mark.parametrize("stop", [1, 5, 7, 13, 23])
def test_stopped_anywhere_and_resumed_equals_the_straight_run(tmp_path, stop):
    straight, resumed = toy_stage(), toy_stage()
    run(straight, tmp_path / "straight")
    run(toy_stage(), tmp_path / "resumed", stop_after=stop)
    run(resumed, tmp_path / "resumed")
    assert curve(tmp_path / "resumed") == curve(tmp_path / "straight")
    assert len(curve(tmp_path / "straight")) == STEPS
    for a, b in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


CHILD = """
import sys; sys.path[:0] = [{tests!r}, {here!r}]
import time
from pathlib import Path
import test_loop
stage = test_loop.toy_stage()
inner = stage.batch
def slow(step):
    time.sleep(0.02)
    return inner(step)
stage.batch = slow
test_loop.run(stage, Path({folder!r}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("records", [2, 8, 17])
def test_kill_9_and_resume_gives_the_same_curve(tmp_path, records):
    run(toy_stage(), tmp_path / "straight")
    folder = tmp_path / "killed"
    here = Path(__file__).parent
    code = CHILD.format(tests=str(here.parent), here=str(here), folder=str(folder))
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    log = MetricLog(folder / "metrics.jsonl")
    deadline = time.monotonic() + 120
    while len(log.read()) < records and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 0 < len(log.read()) < STEPS, "the child must have been killed in the middle"
    run(toy_stage(), folder)
    # the straight run used all threads; a sum of 16 numbers is the same on any
    assert curve(folder) == curve(tmp_path / "straight")


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    run(toy_stage(), tmp_path, stop_after=5)
    with pytest.raises(CheckpointError, match="another configuration"):
        run(toy_stage(identity="other"), tmp_path)


def test_nan_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(NotFiniteError, match="step 7"):
        run(toy_stage(poison=7), tmp_path)
    healed = toy_stage()
    run(healed, tmp_path)
    run(toy_stage(), tmp_path / "straight")
    assert curve(tmp_path) == curve(tmp_path / "straight")


def test_scores_are_logged_at_their_interval_and_at_the_end(tmp_path):
    run(toy_stage(), tmp_path, evaluate=lambda: {"hit": 0.5})
    scored = [r["step"] for r in MetricLog(tmp_path / "metrics.jsonl").read() if r["stage"] == "toy/scores"]
    assert scored == [10, 20, STEPS]


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricLog(path).write(1, loss=2.0)
    with path.open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert MetricLog(path).read() == [{"step": 1, "loss": 2.0}]


def test_schedule_warms_up_and_ends_at_zero():
    factors = [warmup_cosine(step, 10, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == factors[10] == 1.0
    assert factors[100] == pytest.approx(0.0) and factors[10:] == sorted(factors[10:], reverse=True)


def test_adamw_groups_slow_pretrained_and_undecayed_scalars():
    model = nn.ModuleDict({"trunk": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    config = OptimizerConfig(lr=1.0, weight_decay=0.5, pretrained_lr_factor=0.1)
    groups = adamw(model, config, pretrained=lambda n: n.startswith("trunk")).param_groups
    found = {(g["lr"], g["base_lr"], g["weight_decay"], len(g["params"])) for g in groups}
    assert found == {(0.1, 0.1, 0.0, 2), (1.0, 1.0, 0.5, 1), (1.0, 1.0, 0.0, 1)}


def test_a_record_after_a_cut_line_is_not_lost(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricLog(path).write(1, loss=1.0)
    with path.open("a") as stream:
        stream.write('{"step": 2, "lo')
    log = MetricLog(path)
    log.write(3, loss=3.0)
    assert [record["step"] for record in log.read()] == [1, 3]


def test_features_whose_file_was_deleted_are_computed_again(tmp_path):
    """Killed before the first mark of the second run, the first run's marker must not call zeros done."""
    pictures = np.random.default_rng(0).integers(0, 255, (60, 4, 4, 3), dtype=np.uint8)
    path, trunk = tmp_path / "f.npy", nn.Flatten()
    whole = np.array(extract(trunk, lambda i: pictures[i], 60, 48, path, batch=2))
    path.unlink()

    def until_killed(i):
        if i == 20:
            raise KeyboardInterrupt
        return pictures[i]

    with pytest.raises(KeyboardInterrupt):
        extract(trunk, until_killed, 60, 48, path, batch=2)
    np.testing.assert_array_equal(extract(trunk, lambda i: pictures[i], 60, 48, path, batch=2), whole)
