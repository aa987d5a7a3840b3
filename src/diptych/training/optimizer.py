"""AdamW over named groups: what is pretrained learns slowly and without decay; scalars, norms and biases never decay.
"""

from collections.abc import Callable

import torch
from torch import nn

from diptych.training.config import OptimizerConfig


def adamw(
    model: nn.Module, config: OptimizerConfig, pretrained: Callable[[str], bool] = lambda _: False
) -> torch.optim.AdamW:
    """AdamW over the parameters that require a gradient. `pretrained(name)` chooses the slow group.

    Each group's base rate is kept as `base_lr`, for the schedule to multiply.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        slow = pretrained(name)
        lr = config.lr * (config.pretrained_lr_factor if slow else 1.0)
        decay = 0.0 if slow or parameter.ndim < 2 else config.weight_decay
        groups.setdefault((lr, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": lr, "base_lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()],
        betas=(config.beta1, config.beta2), fused=True,
    )
