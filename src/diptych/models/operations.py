"""How many operations an example costs a model, and how many bytes autograd keeps of it: counted by torch on tensors
without contents, so that neither weights nor time are needed. A multiply-add is two operations.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor, UntypedStorage, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from diptych.models.config import NaflexConfig, TwoTowerConfig, VitConfig
from diptych.models.two_tower import TwoTower

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # torch's counter does not know it


def tower_operations(config: TwoTowerConfig) -> tuple[float, float]:
    """Operations of one picture and of one text of full length."""
    # torch picks the attention of a CPU for these tensors, which keeps no matrix of all tokens, as a GPU's does
    with FakeTensorMode():
        towers, (pixels, ids) = TwoTower(dense(config)), inputs(config)
        return counted(lambda: towers.image(pixels), towers)[0], counted(lambda: towers.text(ids), towers)[0]


def counted(forward: Callable[[], object], model: nn.Module) -> tuple[float, float]:
    """Operations, and bytes that autograd keeps beside the weights. What shares memory is counted once."""
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, so that no other comes to lie at the same address
        return tensor

    counter = FlopCounterMode(display=False, custom_mapping={_CPU_ATTENTION: _attention})
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    for parameter in model.parameters():
        kept.pop(parameter.untyped_storage()._cdata, None)
    return float(counter.get_total_flops()), float(sum(storage.nbytes() for storage in kept.values()))


def dense(config: TwoTowerConfig) -> TwoTowerConfig:
    """A native-aspect tower as a plain one with as many tokens: its plan cannot be made without contents."""
    image = config.image
    if not isinstance(image, NaflexConfig):
        return config
    return dataclasses.replace(config, image=VitConfig(
        image_size=image.image_size, patch_size=image.patch_size, width=image.width, layers=image.layers,
        heads=image.heads, mlp_width=image.mlp_width, activation=image.activation, norm_eps=image.norm_eps))


def inputs(config: TwoTowerConfig) -> tuple[Tensor, Tensor]:
    """One picture and one text of full length."""
    size = config.image.image_size
    return torch.empty(1, 3, size, size), torch.zeros(1, config.text.context_length, dtype=torch.long)


def _attention(query: Size, key: Size, value: Size, *_: Any, **__: Any) -> int:
    return sdpa_flop(query, key, value)
