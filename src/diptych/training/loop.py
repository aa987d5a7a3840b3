"""The loop: batch → losses → step, with a schedule, checkpoints and evaluators. It knows no model and no data.

Everything random is a function of (seed, step): a run that is killed and started again gives the same losses to the
last bit, because no state has to be guessed. Evaluators are callables that the command passes in.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from diptych.core import telemetry
from diptych.core.errors import DiptychError
from diptych.training import checkpoint
from diptych.training.config import StageConfig
from diptych.training.log import MetricLog
from diptych.training.schedule import warmup_cosine

B = TypeVar("B")
Losses = Mapping[str, Tensor]
Evaluator = Callable[[], Mapping[str, float]]


class Stage(Generic[B]):
    """One stage of training, ready to run.

    `batch(step)` builds the step's batch (numpy; runs ahead in a thread), `losses(batch)` gives named scalars of
    which "loss" is the one to minimise. `identity` names the configuration: a checkpoint of another one is refused.
    """

    def __init__(
        self, *, name: str, config: StageConfig, model: nn.Module, optimizer: torch.optim.Optimizer,
        batch: Callable[[int], B], losses: Callable[[B], Losses], seed: int, identity: str,
    ):
        self.name, self.config, self.model, self.optimizer = name, config, model, optimizer
        self.batch, self.losses, self.seed, self.identity = batch, losses, seed, identity


class NotFiniteError(DiptychError):
    """The loss became NaN or infinite; the last checkpoint is intact."""


def run(stage: Stage[B], folder: Path, evaluate: Evaluator | None = None, stop_after: int | None = None) -> bool:
    """Train until the stage's last step, from its checkpoint in `folder` if there is one. Whether it got there.

    `stop_after` ends the run early after that many steps in all, as a kill between two steps would (for tests and
    for machines with a time limit); it does not change the schedule.
    """
    config, path = stage.config, folder / f"{stage.name}.pt"
    log = MetricLog(folder / "metrics.jsonl")
    first = checkpoint.restore(path, stage.model, stage.optimizer, stage.identity)
    _rewind(log, stage.name, first)
    last = config.steps if stop_after is None else min(stop_after, config.steps)
    with ThreadPoolExecutor(1) as ahead, telemetry.progress(stage.name, config.steps, "steps", first) as bar:
        upcoming: Future[B] | None = ahead.submit(stage.batch, first) if first < last else None
        started, seen = time.perf_counter(), 0
        for step in range(first, last):
            assert upcoming is not None
            batch = upcoming.result()
            upcoming = ahead.submit(stage.batch, step + 1) if step + 1 < last else None
            numbers = _step(stage, batch, step)
            done, seen = step + 1, seen + config.batch
            rate = seen / (time.perf_counter() - started)
            bar.note(loss=numbers["loss"], pictures_per_s=rate)
            bar.advance()
            if done % config.log_every == 0 or done == config.steps:
                log.write(done, stage=stage.name, pictures_per_s=round(rate, 1), **numbers)
            if evaluate is not None and (done % config.evaluate_every == 0 or done == config.steps):
                log.write(done, stage=f"{stage.name}/scores", **evaluate())
            if done % config.checkpoint_every == 0 or done == last:
                checkpoint.save(path, stage.model, stage.optimizer,
                                checkpoint.Checkpoint(step=done, identity=stage.identity))
    return last == config.steps


def _step(stage: Stage[B], batch: B, step: int) -> dict[str, float]:
    config = stage.config
    # dropout depends on (seed, step) alone; a stage's name keeps two stages from sharing their masks
    torch.manual_seed((hash_seed(stage.name) + stage.seed * 1_000_003 + step) % 2**63)
    factor = warmup_cosine(step, config.optimizer.warmup_steps, config.steps)
    for group in stage.optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    stage.model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
        losses = stage.losses(batch)
    stage.optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    norm = nn.utils.clip_grad_norm_(
        [p for group in stage.optimizer.param_groups for p in group["params"]], config.optimizer.clip_norm)
    numbers = {name: float(value.detach()) for name, value in losses.items()}
    if not all(map(torch.isfinite, (losses["loss"], norm))):
        raise NotFiniteError(
            f"{stage.name}: loss {numbers['loss']}, gradient norm {float(norm)} at step {step}; "
            "lower optimizer.lr or lengthen optimizer.warmup_steps, and run into another folder")
    stage.optimizer.step()
    return numbers | {"grad_norm": float(norm)}


def hash_seed(text: str) -> int:
    """A stable 32-bit number of a text (Python's own hash changes from run to run)."""
    value = 2166136261  # FNV-1a
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) % 2**32
    return value


def _rewind(log: MetricLog, name: str, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint, and nothing of other stages."""
    records = log.read()
    kept = [r for r in records if str(r.get("stage", "")).split("/")[0] != name or float(r["step"]) <= step]
    if len(kept) != len(records):
        log.replace(kept)
