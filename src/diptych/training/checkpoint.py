"""Training state that resumes exactly: weights, optimizer, step. Whole or absent, never half written.

Batches, dropout and augmentation are functions of (seed, step), so no generator state needs saving.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diptych.core.errors import CheckpointError
from diptych.core.files import atomic_write


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """`step` is the number of finished steps; `identity` names the run that wrote it (a hash of its config)."""

    step: int
    identity: str


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Write atomically; a kill in the middle leaves the previous checkpoint."""
    state = {"step": checkpoint.step, "identity": checkpoint.identity, "model": model.state_dict(),
             "optimizer": optimizer.state_dict()}
    with atomic_write(path) as stream:
        torch.save(state, stream)


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> int:
    """Load the state in place and return the number of finished steps; 0 when there is no checkpoint.

    CheckpointError when the checkpoint belongs to another configuration.
    """
    if not path.exists():
        return 0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    if state["identity"] != identity:
        raise CheckpointError(
            f"{path} was written by another configuration; give --to another folder, or delete it to start anew")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]
