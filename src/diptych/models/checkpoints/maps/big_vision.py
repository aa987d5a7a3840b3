"""big_vision's layout of SigLIP and SigLIP 2 (`models/proj/image_text/two_towers.py`), to our state dict and back.

The publishers' own `.npz` files: Flax parameters by path, under `params/` or at the root. A tower trained with `scan`
keeps each parameter of its blocks once, under `encoderblock/`, with the layers as first axis; others have
`encoderblock_0/`, `encoderblock_1/` …; the two towers of a file may differ. Attention keeps its heads as an axis, and
matrices are applied from the right. The class token and the image head of older models are not here.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps import keys
from diptych.models.checkpoints.maps.keys import AS_IS, TRANSPOSED, Form, Names, Source, leading, one
from diptych.models.checkpoints.maps.naflex import square
from diptych.models.config import NaflexConfig, TextConfig, TwoTowerConfig, VitConfig

_LAYOUT, _ROOT = "big_vision", "params/"
_TRAINING = ("opt/", "chrono/")
"""What a training checkpoint keeps beside `params/`: the optimizer's state and the clock."""

_CONVOLUTION = Form(  # height width channels out
    lambda shape: (*shape[2:], shape[1], shape[0]),
    lambda there, _: there.permute(3, 2, 0, 1),
    lambda here: here.permute(2, 3, 1, 0),
)
_PATCHES = Form(  # the same, as a linear layer of flattened patches
    lambda shape: (shape[2] * shape[3] * shape[1], shape[0]),
    lambda there, shape: there.reshape(*shape[2:], shape[1], shape[0]).permute(3, 2, 0, 1),
    lambda here: here.permute(2, 3, 1, 0).flatten(0, 2),
)


def from_big_vision(published: Mapping[str, Tensor], towers: TwoTowerConfig) -> dict[str, Tensor]:
    """Published weights as the state dict of `TwoTower(towers)`, dtypes kept.

    CheckpointError names the first key that is missing, unknown or misshapen, in its unrolled form (`encoderblock_0/`);
    ValueError when the layout cannot hold such towers.
    """
    return keys.read(_unrolled(_parameters(published)), names(towers), keys.state_shapes(towers), _LAYOUT)


def to_big_vision(ours: Mapping[str, Tensor], towers: TwoTowerConfig, scan: bool) -> dict[str, Tensor]:
    """The state dict of `TwoTower(towers)` under the published names; the inverse of `from_big_vision`.

    `scan` stacks the blocks of both towers, as SigLIP 2's files have them.
    """
    written = keys.write(ours, names(towers))
    return {_ROOT + key: tensor for key, tensor in (_stacked(written) if scan else written).items()}


def names(towers: TwoTowerConfig) -> Names:
    """Each of our keys with its path below the root, blocks unrolled. ValueError for towers of another family."""
    image, text = towers.image, towers.text
    match image, text:
        case (NaflexConfig() | VitConfig(pool="map", projection=None)), TextConfig():
            pass
        case _:
            raise ValueError(f"{_LAYOUT} holds a ViT with MAP pooling and no projection, and a plain text transformer; "
                             f"got {image} and {text}")
    naflex = isinstance(image, NaflexConfig)
    found: Names = {
        "log_scale": one("t", leading(1)),
        "logit_bias": one("b", leading(1)),
        "image.patch_embed.weight": one("img/embedding/kernel", _PATCHES if naflex else _CONVOLUTION),
        "image.patch_embed.bias": one("img/embedding/bias"),
        "image.position": one("img/pos_embedding", square(0) if naflex else leading(1)),
        "image.pool.probe": one("img/MAPHead_0/probe"),
        **_attention("image.pool.attention", "img/MAPHead_0/MultiHeadDotProductAttention_0", image.heads),
        **_norm("image.pool.norm", "img/MAPHead_0/LayerNorm_0"),
        **_mlp("image.pool.mlp", "img/MAPHead_0/MlpBlock_0"),
        **_encoder("image", "img/Transformer", image),
        "text.token_embed.weight": one("txt/Embed_0/embedding"),
        "text.position": one("txt/pos_embedding", leading(1)),
        **_encoder("text", "txt/Encoder_0", text),
    }
    if text.projection:  # So400m/16-i18n has none
        found |= _dense("text.projection", "txt/head")
    return keys.complete(found, towers, _LAYOUT)


def _encoder(ours: str, theirs: str, config: VitConfig | NaflexConfig | TextConfig) -> Names:
    found = _norm(f"{ours}.norm_post", f"{theirs}/encoder_norm")
    for i in range(config.layers):
        block, layer = f"{ours}.blocks.{i}", f"{theirs}/encoderblock_{i}"
        found |= _attention(f"{block}.attention", f"{layer}/MultiHeadDotProductAttention_0", config.heads)
        found |= _norm(f"{block}.norm1", f"{layer}/LayerNorm_0") | _norm(f"{block}.norm2", f"{layer}/LayerNorm_1")
        found |= _mlp(f"{block}.mlp", f"{layer}/MlpBlock_0")
    return found


def _attention(ours: str, theirs: str, heads: int) -> Names:
    into = Form(  # width heads head_dim
        lambda shape: (shape[1], heads, shape[0] // heads),
        lambda there, _: there.flatten(1).T,
        lambda here: here.T.unflatten(1, (heads, -1)),
    )
    out = Form(  # heads head_dim width
        lambda shape: (heads, shape[1] // heads, shape[0]),
        lambda there, _: there.flatten(0, 1).T,
        lambda here: here.T.unflatten(0, (heads, -1)),
    )
    bias = Form(
        lambda shape: (heads, shape[0] // heads),
        lambda there, _: there.flatten(),
        lambda here: here.unflatten(0, (heads, -1)),
    )
    qkv = ("query", "key", "value")
    return {
        f"{ours}.in_proj.weight": Source(tuple(f"{theirs}/{x}/kernel" for x in qkv), into),
        f"{ours}.in_proj.bias": Source(tuple(f"{theirs}/{x}/bias" for x in qkv), bias),
        f"{ours}.out_proj.weight": one(f"{theirs}/out/kernel", out),
        f"{ours}.out_proj.bias": one(f"{theirs}/out/bias"),
    }


def _mlp(ours: str, theirs: str) -> Names:
    return _dense(f"{ours}.fc1", f"{theirs}/Dense_0") | _dense(f"{ours}.fc2", f"{theirs}/Dense_1")


def _dense(ours: str, theirs: str) -> Names:
    return {f"{ours}.weight": one(f"{theirs}/kernel", TRANSPOSED), f"{ours}.bias": one(f"{theirs}/bias", AS_IS)}


def _norm(ours: str, theirs: str) -> Names:
    return {f"{ours}.weight": one(f"{theirs}/scale"), f"{ours}.bias": one(f"{theirs}/bias")}


def _parameters(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the root, where there is one, and what training keeps beside it."""
    if not any(key.startswith(_ROOT) for key in published):
        return dict(published)
    beside = sorted(key for key in published if not key.startswith((_ROOT, *_TRAINING)))
    if beside:
        raise CheckpointError(f"the weights have keys beside {_ROOT} that {_LAYOUT} has not: {keys.some(beside)}")
    return {key.removeprefix(_ROOT): tensor for key, tensor in published.items() if key.startswith(_ROOT)}


def _unrolled(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each stacked parameter as one for each layer."""
    found: dict[str, Tensor] = {}
    for key, tensor in published.items():
        tower, block, rest = key.partition("/encoderblock/")
        if not block:
            parts = {key: tensor}
        elif tensor.ndim:
            parts = {f"{tower}/encoderblock_{i}/{rest}": part for i, part in enumerate(tensor.unbind())}
        else:
            raise CheckpointError(f"{key!r} has shape [], expected the layers as its first axis")
        if twice := sorted(parts.keys() & found.keys()):
            raise CheckpointError(f"the weights have {twice[0]!r} twice, stacked and unrolled")
        found |= parts
    return found


def _stacked(unrolled: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `_unrolled`; layers come in their order."""
    layers: dict[str, list[Tensor]] = {}
    for key, tensor in unrolled.items():
        layers.setdefault(re.sub(r"/encoderblock_\d+/", "/encoderblock/", key), []).append(tensor)
    return {key: torch.stack(parts) if "/encoderblock/" in key else parts[0] for key, parts in layers.items()}
