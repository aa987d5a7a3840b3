"""OpenAI's CLIP files: the keys of open_clip's `CLIP`, and three counters that say what the model was made for.

The `.pt` files are TorchScript archives in half precision, which `reader` takes as data. OpenAI's code knows no
configuration: it takes widths, depths and sizes from the shapes of tensors, and the rest is fixed. Towers that differ
in the rest are read as their configuration says, but not written.
"""

import operator
from collections.abc import Mapping

import torch
from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps import open_clip
from diptych.models.config import ResNetConfig, TextConfig, TwoTowerConfig, VitConfig


def from_openai(published: Mapping[str, Tensor], towers: TwoTowerConfig) -> dict[str, Tensor]:
    """Published weights as the state dict of `TwoTower(towers)`, dtypes kept but where a BatchNorm is merged (float32).

    The counters may be missing, as from a state dict of OpenAI's model rather than its archive. CheckpointError names
    one that does not fit `towers`, or the first key that is missing, unknown or misshapen.
    """
    weights = dict(published)
    for key, expected in _counters(towers).items():
        counter = weights.pop(key, None)
        if counter is not None and (counter.numel() != 1 or counter.item() != expected):
            raise CheckpointError(f"{key!r} is {counter.tolist()} in the weights, {expected} in the configuration: "
                                  "they are of different models")
    return open_clip.from_open_clip(weights, towers, "open_clip")


def to_openai(ours: Mapping[str, Tensor], towers: TwoTowerConfig) -> dict[str, Tensor]:
    """The state dict of `TwoTower(towers)` with OpenAI's keys and counters; the inverse of `from_openai`.

    `clip.load` opens it from a file of `torch.save`. ValueError when OpenAI's code would make other towers of it.
    """
    if other := _unlike(towers):
        raise ValueError(f"OpenAI's code would make other towers of these weights, with {'; '.join(other)}; write them "
                         "in open_clip's layout")
    counters = {key: torch.tensor(value) for key, value in _counters(towers).items()}
    return open_clip.to_open_clip(ours, towers, "open_clip") | counters


def _counters(towers: TwoTowerConfig) -> dict[str, int]:
    return {"input_resolution": towers.image.image_size, "context_length": towers.text.context_length,
            "vocab_size": towers.text.vocab_size}


def _unlike(towers: TwoTowerConfig) -> list[str]:
    """In what these towers differ from those that OpenAI's `build_model` makes of their weights."""
    image, text = towers.image, towers.text
    if not isinstance(text, TextConfig):
        return ["a plain text transformer"]
    made: dict[str, object] = {f"text.{name}": value for name, value in _transformer(text).items()}
    made |= {"text.causal": True, "text.pool": "argmax", "text.projection_bias": False, "init_logit_bias": None}
    match image:
        case VitConfig():
            made |= {f"image.{name}": value for name, value in _transformer(image).items()}
            made |= {"image.pool": "cls", "image.pre_norm": True, "image.image_size": image.grid * image.patch_size}
        case ResNetConfig():
            made |= {"image.heads": image.width * 32 // 64, "image.image_size": image.grid * 32}
        case _:
            return ["a ViT or a ModifiedResNet for pictures"]
    have = {name: operator.attrgetter(name)(towers) for name in made}
    return [f"{name} {made[name]} instead of {have[name]}" for name in made if made[name] != have[name]]


def _transformer(part: VitConfig | TextConfig) -> dict[str, object]:
    return {"heads": part.width // 64, "mlp_width": 4 * part.width, "activation": "quick_gelu", "norm_eps": 1e-5}
