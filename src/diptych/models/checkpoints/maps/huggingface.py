"""Hugging Face's layouts of CLIP and SigLIP, to our state dict and back.

MetaCLIP 2 is stored as CLIP, and SigLIP 2 at a fixed resolution as SigLIP; its NaFlex models are
"huggingface_siglip2", which is the same but for the patches: they are a linear layer.
"""

from collections.abc import Mapping

from torch import Tensor

from diptych.models.checkpoints.catalog import Layout
from diptych.models.checkpoints.maps import keys
from diptych.models.checkpoints.maps.keys import AS_IS, PATCH_ROWS, Names, Source, affine, leading, one
from diptych.models.config import NaflexConfig, TextConfig, TwoTowerConfig, VitConfig

_BUFFERS = frozenset({"vision_model.embeddings.position_ids", "text_model.embeddings.position_ids"})
"""Counting from 0, stored by older versions of transformers; not weights."""


def from_huggingface(published: Mapping[str, Tensor], towers: TwoTowerConfig, layout: Layout) -> dict[str, Tensor]:
    """Published weights as the state dict of `TwoTower(towers)`, dtypes kept.

    CheckpointError names the first key that is missing, unknown or misshapen; ValueError when `layout` cannot hold
    such towers.
    """
    return keys.read(published, names(towers, layout), keys.state_shapes(towers), layout, _BUFFERS)


def to_huggingface(ours: Mapping[str, Tensor], towers: TwoTowerConfig, layout: Layout) -> dict[str, Tensor]:
    """The state dict of `TwoTower(towers)` under the published names; the inverse of `from_huggingface`."""
    return keys.write(ours, names(towers, layout))


def names(towers: TwoTowerConfig, layout: Layout) -> Names:
    """Each of our keys with the published one, or the three of q, k and v that ours packs along its rows."""
    image, text, naflex = towers.image, towers.text, layout == "huggingface_siglip2"
    if not isinstance(image, NaflexConfig if naflex else VitConfig) or not isinstance(text, TextConfig):
        raise ValueError(f"{layout} holds a {'NaFlex' if naflex else 'plain'} ViT and a plain text transformer, "
                         f"not {image.kind}")
    patches = PATCH_ROWS if naflex else AS_IS
    found: Names = {
        "image.position": one("vision_model.embeddings.position_embedding.weight"),
        "image.patch_embed.weight": one("vision_model.embeddings.patch_embedding.weight", patches),
        "text.position": one("text_model.embeddings.position_embedding.weight"),
        "text.token_embed.weight": one("text_model.embeddings.token_embedding.weight"),
        **_blocks("image", "vision_model", image.layers),
        **_blocks("text", "text_model", text.layers),
        **affine("image.norm_post", "vision_model.post_layernorm"),
        **affine("text.norm_post", "text_model.final_layer_norm"),
    }
    match layout:
        case "huggingface_clip":
            found |= {
                "log_scale": one("logit_scale"),
                "image.cls_token": one("vision_model.embeddings.class_embedding"),
                **affine("image.norm_pre", "vision_model.pre_layrnorm"),  # sic
                "image.projection.weight": one("visual_projection.weight"),
                "text.projection.weight": one("text_projection.weight"),
            }
        case "huggingface_siglip" | "huggingface_siglip2":
            found |= {
                "log_scale": one("logit_scale", leading(1)),
                "logit_bias": one("logit_bias", leading(1)),
                "image.patch_embed.bias": one("vision_model.embeddings.patch_embedding.bias"),
                "image.pool.probe": one("vision_model.head.probe"),
                "image.pool.attention.in_proj.weight": one("vision_model.head.attention.in_proj_weight"),
                "image.pool.attention.in_proj.bias": one("vision_model.head.attention.in_proj_bias"),
                **affine("image.pool.attention.out_proj", "vision_model.head.attention.out_proj"),
                **affine("image.pool.norm", "vision_model.head.layernorm"),
                **affine("image.pool.mlp.fc1", "vision_model.head.mlp.fc1"),
                **affine("image.pool.mlp.fc2", "vision_model.head.mlp.fc2"),
                **affine("text.projection", "text_model.head"),
            }
        case _:
            raise ValueError(f"{layout} is not a layout of Hugging Face's")
    return keys.complete(found, towers, layout)


def _blocks(ours: str, theirs: str, layers: int) -> Names:
    found: Names = {}
    for i in range(layers):
        block, layer = f"{ours}.blocks.{i}", f"{theirs}.encoder.layers.{i}"
        for kind in ("weight", "bias"):
            found[f"{block}.attention.in_proj.{kind}"] = Source(
                tuple(f"{layer}.self_attn.{x}_proj.{kind}" for x in "qkv"))
        found |= affine(f"{block}.attention.out_proj", f"{layer}.self_attn.out_proj")
        found |= affine(f"{block}.norm1", f"{layer}.layer_norm1") | affine(f"{block}.norm2", f"{layer}.layer_norm2")
        found |= affine(f"{block}.mlp.fc1", f"{layer}.mlp.fc1") | affine(f"{block}.mlp.fc2", f"{layer}.mlp.fc2")
    return found
