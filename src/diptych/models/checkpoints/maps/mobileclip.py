"""Apple's own files of the first MobileCLIP (`mobileclip_s1.pt`, `_s2`, `_b`, `_blt`), to our state dict and back.

The weights are those of open_clip's files under other names: FastViT in S1 and S2, a ViT with a convolutional stem in
B, and a plain text transformer; the picture's projection has no bias. S0's text tower has convolutional blocks at both
ends and is not read. MobileCLIP2's files are in open_clip's layout.

B is computed as open_clip does. Apple's own code pads the first convolution of its stem by a pixel, and its LayerNorms
have an eps of 1e-5 where timm's have 1e-6, so vectors from there differ a little.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps import fastvit, keys
from diptych.models.checkpoints.maps.batch_norm import idle, take, take_affine
from diptych.models.checkpoints.maps.fastvit import Spelling
from diptych.models.checkpoints.maps.keys import TRANSPOSED, Names, Source, affine, leading, one
from diptych.models.config import FastVitConfig, TextConfig, TwoTowerConfig, VitConfig

EPS = 1e-5
_IMAGE, _TEXT = "image_encoder.model", "text_encoder"
_STEM = {0: f"{_IMAGE}.patch_emb.0.block", 2: f"{_IMAGE}.patch_emb.1.block"}
"""Where the convolutions of B's stem lie that have a BatchNorm; GELU is in between."""

_RENAMED = {
    "stem.": "patch_embed.", "conv_kxk.": "rbr_conv.", "conv_scale.": "rbr_scale.", "identity": "rbr_skip",
    ".large_conv.": ".lkb_origin.", ".proj.0.reparam_conv.": ".proj.0.lkb_reparam.", ".mlp.": ".convffn.",
    ".pos_enc.": ".pe.", ".gamma": "", "final_conv.": "conv_exp.", "conv_exp.se.fc1.": "conv_exp.se.reduce.",
    "conv_exp.se.fc2.": "conv_exp.se.expand.", "head.fc.weight": "head.proj",
}
"""What timm calls the parts of a FastViT, and Apple; in the order in which they are replaced."""


def from_mobileclip(published: Mapping[str, Tensor], towers: TwoTowerConfig) -> dict[str, Tensor]:
    """Published weights as the state dict of `TwoTower(towers)`, dtypes kept but where BatchNorms are merged (float32).

    CheckpointError names the first key that is missing, unknown or misshapen; ValueError when the layout cannot hold
    such towers.
    """
    if any(key.startswith(f"{_TEXT}.transformer.0.token_mixer.") for key in published):
        raise CheckpointError(
            "this is the first MobileCLIP-S0, whose text tower has RepMixer blocks at both ends; Diptych has no such "
            "tower. MobileCLIP2-S0 has the same picture tower and a plain text tower: take that")
    found, shapes = names(towers), keys.state_shapes(towers)
    match towers.image:
        case FastVitConfig():
            merged = fastvit.merge(published, towers.image, _spelling(towers.image))
        case _:
            merged = dict(published)
            for place, there in _STEM.items():
                weight = take(merged, f"{there}.conv.weight", shapes[f"image.patch_embed.{place}.weight"])
                gain, shift = take_affine(merged, f"{there}.norm", len(weight), EPS)
                merged[f"{there}.conv.weight"] = (weight * gain[:, None, None, None]).float()
                merged[f"{there}.conv.bias"] = shift.float()
    return keys.read(merged, found, shapes, "mobileclip")


def to_mobileclip(ours: Mapping[str, Tensor], towers: TwoTowerConfig) -> dict[str, Tensor]:
    """The state dict of `TwoTower(towers)` under Apple's names; the inverse of `from_mobileclip`.

    ValueError when the projection of pictures has a bias: there is no place for it.
    """
    merged = keys.write(ours, names(towers))
    match towers.image:
        case FastVitConfig():
            return fastvit.split(merged, towers.image, _spelling(towers.image))
        case _:
            for there in _STEM.values():
                merged |= idle(f"{there}.norm", merged.pop(f"{there}.conv.bias"), EPS)
            return merged


def names(towers: TwoTowerConfig) -> Names:
    """Each of our keys with the published one in merged weights. ValueError when the layout cannot hold such towers."""
    image, text = towers.image, towers.text
    match image, text:
        case FastVitConfig(), TextConfig():
            found = fastvit.names(image, _spelling(image))
            found["image.projection.weight"] = one(f"{_IMAGE}.head.proj", TRANSPOSED)
        case VitConfig(stem="conv"), TextConfig():
            found = _vit(image)
        case _:
            raise ValueError(f"mobileclip holds FastViT or a ViT with a convolutional stem, and a plain text "
                             f"transformer; got {image} and {text}")
    if isinstance(image, FastVitConfig) or image.projection_bias:
        found["image.projection.bias"] = Source((None,))
    found |= {
        "log_scale": one("logit_scale"),
        "text.token_embed.weight": one(f"{_TEXT}.embedding_layer.weight"),
        "text.position": one(f"{_TEXT}.positional_embedding.pos_embed.pos_embed", leading(2)),
        "text.projection.weight": one(f"{_TEXT}.projection_layer", TRANSPOSED),
        **affine("text.norm_post", f"{_TEXT}.final_layer_norm"),
        **_blocks("text", _TEXT, text.layers),
    }
    return keys.complete(found, towers, "mobileclip")


def _vit(config: VitConfig) -> Names:
    found: Names = {
        "image.cls_token": one(f"{_IMAGE}.cls_token", leading(2)),
        "image.position": one(f"{_IMAGE}.pos_embed.pos_embed.pos_embed", leading(2)),
        "image.projection.weight": one(f"{_IMAGE}.classifier.proj", TRANSPOSED),
        **affine("image.norm_post", f"{_IMAGE}.post_transformer_norm"),
        **affine("image.patch_embed.4", f"{_IMAGE}.patch_emb.2.block.conv"),
        **_blocks("image", _IMAGE, config.layers),
    }
    for place, there in _STEM.items():
        found |= affine(f"image.patch_embed.{place}", f"{there}.conv")
    return found


def _blocks(ours: str, theirs: str, layers: int) -> Names:
    found: Names = {}
    for i in range(layers):
        block, layer = f"{ours}.blocks.{i}", f"{theirs}.transformer.{i}"
        found |= affine(f"{block}.norm1", f"{layer}.pre_norm_mha.0")
        found |= affine(f"{block}.attention.in_proj", f"{layer}.pre_norm_mha.1.qkv_proj")
        found |= affine(f"{block}.attention.out_proj", f"{layer}.pre_norm_mha.1.out_proj")
        found |= affine(f"{block}.norm2", f"{layer}.pre_norm_ffn.0")
        found |= affine(f"{block}.mlp.fc1", f"{layer}.pre_norm_ffn.1")
        found |= affine(f"{block}.mlp.fc2", f"{layer}.pre_norm_ffn.4")
    return found


def _spelling(config: FastVitConfig) -> Spelling:
    """From timm's keys of a FastViT to Apple's, where stages and what is between them lie in one row, `network`."""
    places: dict[str, str] = {}
    for stage in range(len(config.widths)):
        if stage:
            places[f"stages.{stage}.downsample."] = f"network.{len(places)}."
        if config.attends(stage):
            places[f"stages.{stage}.pos_emb."] = f"network.{len(places)}."
        places[f"stages.{stage}.blocks."] = f"network.{len(places)}."

    def spell(key: str) -> str:
        key = re.sub(r"^stages\.\d+\.\w+\.", lambda found: places[found[0]], key)
        for theirs, apples in _RENAMED.items():
            key = key.replace(theirs, apples)
        return f"{_IMAGE}.{key}"

    return spell
