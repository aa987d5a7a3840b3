"""open_clip's layouts, to our state dict and back.

"open_clip" is its `CLIP`, with the text tower's keys at the root; "open_clip_custom" its `CustomTextCLIP` and `CoCa`,
with the text tower under `text.`; both have a picture tower of its own under `visual.`. "open_clip_timm" is a
`CustomTextCLIP` with one of timm's, under `visual.trunk.`. Its own transformers are here, the keys of other towers in
the modules of their names. CoCa's captioning decoder is not read: a dual encoder has no use for it.
"""

from collections.abc import Mapping

from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.catalog import Layout
from diptych.models.checkpoints.maps import eva, fastvit, keys, naflex, resnet, timm_vit, transformers_text
from diptych.models.checkpoints.maps.keys import TRANSPOSED, Names, Source, affine, one
from diptych.models.config import (
    EvaConfig,
    FastVitConfig,
    ImageConfig,
    NaflexConfig,
    ResNetConfig,
    TextConfig,
    TransformersTextConfig,
    TwoTowerConfig,
    VitConfig,
)

_BUFFERS = frozenset({"attn_mask", "text.attn_mask"}) | transformers_text.TABLES
"""Stored by older versions; not weights."""

_TEXT = ("token_embedding.", "positional_embedding", "cls_emb", "transformer.", "ln_final.", "text_projection",
         "attn_mask")
"""How the text tower's keys begin. The same model is published with and without `text.` before them."""


def from_open_clip(published: Mapping[str, Tensor], towers: TwoTowerConfig, layout: Layout) -> dict[str, Tensor]:
    """Published weights as the state dict of `TwoTower(towers)`, dtypes kept but where a BatchNorm is merged (float32).

    The text tower's keys may have the other layout's prefix. CheckpointError names the first key that is missing,
    unknown or misshapen; ValueError when `layout` cannot hold such towers.
    """
    found = names(towers, layout)
    merged = _merge(_with_prefix(published, _text_prefix(layout)), towers.image)
    decoder = {key for key in merged if key.startswith("text_decoder.") and _is_coca(towers.image)}
    return keys.read(merged, found, keys.state_shapes(towers), layout, _BUFFERS | decoder)


def to_open_clip(ours: Mapping[str, Tensor], towers: TwoTowerConfig, layout: Layout) -> dict[str, Tensor]:
    """The state dict of `TwoTower(towers)` under the published names; the inverse of `from_open_clip`.

    open_clip loads it strictly, except for CoCa, which lacks its decoder then.
    """
    return _split(keys.write(ours, names(towers, layout)), towers.image)


def names(towers: TwoTowerConfig, layout: Layout) -> Names:
    """Each of our keys with the published ones. ValueError when `layout` cannot hold such towers."""
    prefix, image, text = _text_prefix(layout), towers.image, towers.text
    found: Names = {"log_scale": one("logit_scale")}
    if towers.init_logit_bias is not None:
        found["logit_bias"] = one("logit_bias")
    match layout, image:
        case "open_clip_timm", VitConfig(pool="cls" | "map"):
            found |= timm_vit.names(image)
        case "open_clip_timm", EvaConfig():
            found |= eva.names(image)
        case "open_clip_timm", FastVitConfig():
            found |= fastvit.names(image)
        case "open_clip_timm", NaflexConfig():
            found |= naflex.timm_names(image)
        case "open_clip" | "open_clip_custom", VitConfig(stem="patch"):
            found |= _vit(image)
        case "open_clip" | "open_clip_custom", ResNetConfig():
            found |= resnet.names(image)
        case _:
            raise ValueError(f"{layout} does not hold a picture tower like this: {image}")
    match layout, text:
        case _, TextConfig():
            found |= _text(text, prefix)
        case "open_clip_custom" | "open_clip_timm", TransformersTextConfig():
            found |= transformers_text.names(text)
        case _:
            raise ValueError(f"{layout} does not hold a text tower of transformers'")
    return keys.complete(found, towers, layout)


def _text(config: TextConfig, prefix: str) -> Names:
    found: Names = {
        "text.token_embed.weight": one(f"{prefix}token_embedding.weight"),
        "text.position": one(f"{prefix}positional_embedding"),
        **_blocks("text", f"{prefix}transformer", config.layers),
        **affine("text.norm_post", f"{prefix}ln_final"),
    }
    if config.pool == "cls":
        found["text.cls_token"] = one(f"{prefix}cls_emb")
    if config.projection and config.projection_bias:
        found |= affine("text.projection", f"{prefix}text_projection")
    elif config.projection:  # a bare parameter there
        found["text.projection.weight"] = one(f"{prefix}text_projection", TRANSPOSED)
    return found


def _vit(config: VitConfig) -> Names:
    """open_clip's `VisionTransformer`."""
    found: Names = {
        "image.patch_embed.weight": one("visual.conv1.weight"),
        "image.cls_token": one("visual.class_embedding"),
        "image.position": one("visual.positional_embedding"),
        **_blocks("image", "visual.transformer", config.layers),
        **affine("image.norm_post", "visual.ln_post"),
        "image.projection.weight": one("visual.proj", TRANSPOSED),
    }
    if config.pre_norm:
        found |= affine("image.norm_pre", "visual.ln_pre")
    if _is_coca(config):
        found |= _query_pool(config)
    return found


def _query_pool(config: VitConfig) -> Names:
    if config.projection == config.width:
        raise ValueError(f"open_clip packs q, k and v where the pooled width is the tower's, {config.width}; "
                         "no published CoCa is like that, and it is not mapped")
    ours, theirs = "image.pool", "visual.attn_pool"
    return {
        f"{ours}.query": one(f"{theirs}.query"),
        f"{ours}.q_proj.weight": one(f"{theirs}.attn.q_proj_weight"),
        f"{ours}.kv_proj.weight": Source(tuple(f"{theirs}.attn.{x}_proj_weight" for x in "kv")),
        f"{ours}.in_bias": one(f"{theirs}.attn.in_proj_bias"),
        **affine(f"{ours}.out_proj", f"{theirs}.attn.out_proj"),
        **affine(f"{ours}.norm_query", f"{theirs}.ln_q"),
        **affine(f"{ours}.norm_memory", f"{theirs}.ln_k"),
    }


def _blocks(ours: str, theirs: str, layers: int) -> Names:
    found: Names = {}
    for i in range(layers):
        block, layer = f"{ours}.blocks.{i}", f"{theirs}.resblocks.{i}"
        for kind in ("weight", "bias"):
            found[f"{block}.attention.in_proj.{kind}"] = one(f"{layer}.attn.in_proj_{kind}")
        found |= affine(f"{block}.attention.out_proj", f"{layer}.attn.out_proj")
        found |= affine(f"{block}.norm1", f"{layer}.ln_1") | affine(f"{block}.norm2", f"{layer}.ln_2")
        found |= affine(f"{block}.mlp.fc1", f"{layer}.mlp.c_fc") | affine(f"{block}.mlp.fc2", f"{layer}.mlp.c_proj")
    return found


def _is_coca(config: ImageConfig) -> bool:
    return isinstance(config, VitConfig) and config.pool == "query"


def _text_prefix(layout: Layout) -> str:
    match layout:
        case "open_clip":
            return ""
        case "open_clip_custom" | "open_clip_timm":
            return "text."
        case _:
            raise ValueError(f"{layout} is not a layout of open_clip's")


def _with_prefix(published: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The same weights, the text tower's keys with that prefix and no other."""
    found: dict[str, Tensor] = {}
    for key, tensor in published.items():
        bare = key.removeprefix("text.")
        here = prefix + bare if bare.startswith(_TEXT) else key
        if here in found:
            raise CheckpointError(f"the weights have {bare!r} twice, with and without 'text.' before it")
        found[here] = tensor
    return found


def _merge(published: dict[str, Tensor], image: ImageConfig) -> dict[str, Tensor]:
    """The weights with the picture tower's BatchNorms merged into the convolutions before them."""
    match image:
        case VitConfig():
            return timm_vit.merge(published, image)
        case ResNetConfig():
            return resnet.merge(published, image)
        case FastVitConfig():
            return fastvit.merge(published, image)
        case _:
            return published


def _split(merged: dict[str, Tensor], image: ImageConfig) -> dict[str, Tensor]:
    """The inverse of `_merge`, with BatchNorms that do nothing but add the bias."""
    match image:
        case VitConfig():
            return timm_vit.split(merged, image)
        case ResNetConfig():
            return resnet.split(merged, image)
        case FastVitConfig():
            return fastvit.split(merged, image)
        case _:
            return merged
