"""Hugging Face's layouts of CLIP and SigLIP, to our state dict and back.

SigLIP 2 at a fixed resolution is stored as SigLIP; the NaFlex models, whose patches are a linear layer, are not here.
Both ways are strict: every key is known, present and of the shape that the configuration asks for.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.catalog import Layout
from diptych.models.config import TwoTowerConfig, VitConfig
from diptych.models.two_tower import TwoTower

_BUFFERS = {"vision_model.embeddings.position_ids", "text_model.embeddings.position_ids"}
"""Counting from 0, stored by older versions of transformers; not weights."""


def from_huggingface(published: Mapping[str, Tensor], towers: TwoTowerConfig, layout: Layout) -> dict[str, Tensor]:
    """Published weights as the state dict of `TwoTower(towers)`, dtypes kept.

    CheckpointError names the first key that is missing, unknown or misshapen; ValueError when `layout` cannot hold
    such towers.
    """
    names, shapes = key_names(towers, layout), _shapes(towers)
    if unknown := sorted(published.keys() - _BUFFERS - {key for keys in names.values() for key in keys}):
        raise CheckpointError(f"the weights have keys that {layout} with this architecture has not: {_some(unknown)}")
    ours: dict[str, Tensor] = {}
    for name, keys in names.items():
        rows, *rest = shapes[name] or (1,)
        parts = []
        for key in keys:
            if key not in published:
                raise CheckpointError(f"the weights lack {key!r}, which {layout} with this architecture has")
            part = published[key]
            expected = tuple(shapes[name]) if len(keys) == 1 else (rows // len(keys), *rest)
            if tuple(part.shape) != expected and not (expected == () and part.numel() == 1):
                raise CheckpointError(f"{key!r} has shape {list(part.shape)}, expected {list(expected)}")
            parts.append(part.reshape(expected))
        ours[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
    return ours


def to_huggingface(ours: Mapping[str, Tensor], towers: TwoTowerConfig, layout: Layout) -> dict[str, Tensor]:
    """The state dict of `TwoTower(towers)` under the published names; the inverse of `from_huggingface`."""
    names = key_names(towers, layout)
    if ours.keys() != names.keys():
        raise ValueError(f"not the state dict of these towers: {_some(sorted(ours.keys() ^ names.keys()))}")
    published: dict[str, Tensor] = {}
    for name, keys in names.items():
        tensor = ours[name]
        if tensor.ndim == 0 and layout == "huggingface_siglip":
            tensor = tensor.reshape(1)
        for key, part in zip(keys, tensor.chunk(len(keys)) if len(keys) > 1 else [tensor], strict=True):
            published[key] = part.contiguous()
    return published


def key_names(towers: TwoTowerConfig, layout: Layout) -> dict[str, tuple[str, ...]]:
    """Each of our keys with the published one, or the three of q, k and v that ours packs along its rows."""
    image, text = towers.image, towers.text
    if not isinstance(image, VitConfig):
        raise ValueError(f"{layout} holds a plain ViT, not {image.kind}")
    names = {
        "log_scale": ("logit_scale",),
        "image.position": ("vision_model.embeddings.position_embedding.weight",),
        "image.patch_embed.weight": ("vision_model.embeddings.patch_embedding.weight",),
        "text.position": ("text_model.embeddings.position_embedding.weight",),
        "text.token_embed.weight": ("text_model.embeddings.token_embedding.weight",),
        **_blocks("image", "vision_model", image.layers),
        **_blocks("text", "text_model", text.layers),
        **_affine("image.norm_post", "vision_model.post_layernorm"),
        **_affine("text.norm_post", "text_model.final_layer_norm"),
    }
    match layout:
        case "huggingface_clip":
            names |= {
                "image.cls_token": ("vision_model.embeddings.class_embedding",),
                **_affine("image.norm_pre", "vision_model.pre_layrnorm"),  # sic
                "image.projection.weight": ("visual_projection.weight",),
                "text.projection.weight": ("text_projection.weight",),
            }
        case "huggingface_siglip":
            names |= {
                "logit_bias": ("logit_bias",),
                "image.patch_embed.bias": ("vision_model.embeddings.patch_embedding.bias",),
                "image.pool.probe": ("vision_model.head.probe",),
                "image.pool.attention.in_proj.weight": ("vision_model.head.attention.in_proj_weight",),
                "image.pool.attention.in_proj.bias": ("vision_model.head.attention.in_proj_bias",),
                **_affine("image.pool.attention.out_proj", "vision_model.head.attention.out_proj"),
                **_affine("image.pool.norm", "vision_model.head.layernorm"),
                **_affine("image.pool.mlp.fc1", "vision_model.head.mlp.fc1"),
                **_affine("image.pool.mlp.fc2", "vision_model.head.mlp.fc2"),
                **_affine("text.projection", "text_model.head"),
            }
        case "native":
            raise ValueError("a model in our own layout needs no key map")
    if other := sorted(names.keys() ^ _shapes(towers).keys()):
        raise ValueError(f"{layout} does not hold towers of this configuration; they differ in {_some(other)}")
    return names


def _blocks(ours: str, theirs: str, layers: int) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for i in range(layers):
        block, layer = f"{ours}.blocks.{i}", f"{theirs}.encoder.layers.{i}"
        for kind in ("weight", "bias"):
            names[f"{block}.attention.in_proj.{kind}"] = tuple(f"{layer}.self_attn.{x}_proj.{kind}" for x in "qkv")
        names |= _affine(f"{block}.attention.out_proj", f"{layer}.self_attn.out_proj")
        names |= _affine(f"{block}.norm1", f"{layer}.layer_norm1") | _affine(f"{block}.norm2", f"{layer}.layer_norm2")
        names |= _affine(f"{block}.mlp.fc1", f"{layer}.mlp.fc1") | _affine(f"{block}.mlp.fc2", f"{layer}.mlp.fc2")
    return names


def _affine(ours: str, theirs: str) -> dict[str, tuple[str, ...]]:
    return {f"{ours}.{kind}": (f"{theirs}.{kind}",) for kind in ("weight", "bias")}


def _shapes(towers: TwoTowerConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):  # shapes without memory
        return {name: tensor.shape for name, tensor in TwoTower(towers).state_dict().items()}


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
