"""What a stage costs before it is run: parameters, operations, tokens and memory of a step.

The operations of one example forward (`models.operations`), three times that forward and backward, as much again for
what is computed a second time, and the bytes that autograd keeps of it.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from diptych.losses.blocks import CHUNK
from diptych.models.config import NaflexConfig, TextConfig, TwoTowerConfig, VitConfig
from diptych.models.decoder import Decoder, decoder_like
from diptych.models.layers import Block, Memory, recompute_activations
from diptych.models.operations import counted, dense, inputs
from diptych.models.two_tower import TwoTower, count_parameters
from diptych.recipes.family.batches import schedules
from diptych.recipes.family.config import Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one stage. Operations count a multiply-add as two; memory is in bytes on each device, data left out."""

    stage: str
    ranks: int
    image_parameters: int
    text_parameters: int
    decoder_parameters: int
    image_tokens: int
    text_tokens: int
    flops_per_pair: float
    flops_per_step: float
    weights_memory: float
    activations_memory: float
    loss_memory: float

    @property
    def memory(self) -> float:
        """All of it together."""
        return self.weights_memory + self.activations_memory + self.loss_memory


def estimate(recipe: Recipe, stage: Stage, config: TwoTowerConfig, ranks: int = 1) -> Estimate:
    """What that stage costs on each of `ranks` devices with towers of that configuration."""
    # torch picks the attention of a CPU for these tensors, which keeps no matrix of all tokens, as a GPU's does
    with FakeTensorMode():
        towers = TwoTower(dense(config))
        decoder = None
        if "captioning" in schedules(recipe, stage) and recipe.decoder and isinstance(config.text, TextConfig):
            assert isinstance(config.image, VitConfig | NaflexConfig)
            decoder = Decoder(decoder_like(config.text, config.image.width,
                                           context_length=recipe.decoder.context_length))
        parts = nn.ModuleList([towers, *([] if decoder is None else [decoder])])

        def forward() -> None:
            pixels, ids = inputs(config)
            if not recipe.cached_image:
                towers.image(pixels)
            towers.text(ids)
            if decoder is not None:
                memory = torch.empty(1, max(1, _image_tokens(config)), decoder.config.memory_width)
                decoder(torch.zeros(1, decoder.config.context_length, dtype=torch.long), Memory(memory))

        operations, kept = counted(forward, parts)
        if stage.recompute:
            kept = _kept_when_recomputing(forward, parts, kept)
    encoded_twice = stage.run.micro_batch is not None and stage.run.micro_batch < stage.run.batch // ranks
    again = int(encoded_twice) + int(stage.recompute)
    per_pair = operations * (3 + again)
    part = min(stage.run.micro_batch or stage.run.batch, stage.run.batch // ranks)
    trained = count_parameters(towers) + (count_parameters(decoder) if decoder is not None else 0)
    share = 0.5 if stage.run.bf16 else 1.0
    return Estimate(
        stage=stage.name, ranks=ranks, image_parameters=count_parameters(towers.image),
        text_parameters=count_parameters(towers.text),
        decoder_parameters=0 if decoder is None else count_parameters(decoder),
        image_tokens=_image_tokens(config), text_tokens=config.text.context_length, flops_per_pair=per_pair,
        flops_per_step=per_pair * stage.run.batch,
        weights_memory=trained * 4.0 * (4 + (stage.run.ema is not None)),
        activations_memory=kept * share * part,
        loss_memory=4.0 * (3 * CHUNK**2 + 4 * (stage.run.batch // ranks) * towers.dim))


def _kept_when_recomputing(forward: Callable[[], None], model: nn.Module, whole: float) -> float:
    """Bytes at the worst moment: what lies outside of blocks, every block's input, and all of one block."""
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    inputs: list[int] = []
    handles = [block.register_forward_pre_hook(lambda _, given: inputs.append(given[0].nbytes)) for block in blocks]
    recompute_activations(model)
    outside = counted(forward, model)[1]
    for handle in handles:
        handle.remove()
    return outside + sum(inputs) + (whole - outside) / max(1, len(blocks))


def _image_tokens(config: TwoTowerConfig) -> int:
    image = config.image
    if isinstance(image, NaflexConfig):
        return image.max_patches
    return getattr(image, "grid", 0) ** 2


@functools.cache
def matrix_rate(device: torch.device, bf16: bool) -> float:
    """Operations per second of one large product on this device, the best of three: what utilisation is a share of."""
    size = 2048 if device.type == "cpu" else 8192
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def describe(found: Estimate) -> str:
    """The estimate for people."""
    giga, million = 1 << 30, 1e6
    spoken = f" + decoder {found.decoder_parameters / million:,.1f} M" if found.decoder_parameters else ""
    where = "" if found.ranks == 1 else f" on each of {found.ranks} devices"
    return (f"{found.stage}: {found.image_parameters / million:,.1f} M + {found.text_parameters / million:,.1f} M"
            f"{spoken} parameters; "
            f"{found.image_tokens} + {found.text_tokens} tokens and {found.flops_per_pair / 1e9:,.2f} GFLOP a pair, "
            f"{found.flops_per_step / 1e12:,.3f} TFLOP a step; memory about {found.memory / giga:,.2f} GiB{where} "
            f"(weights, moments and gradients {found.weights_memory / giga:,.2f}, activations "
            f"{found.activations_memory / giga:,.2f}, loss {found.loss_memory / giga:,.2f})")


