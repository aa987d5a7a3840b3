"""timm's names of the EVA picture tower, as they stand in open_clip's files under `visual.trunk.`.

Queries, keys and values lie there in three ways: EVA02-B and L, those with norms inside, keep three matrices; PE-Core
packs them with one bias; EVA01 and EVA02-E pack the matrix and keep the biases of q and v beside it.
"""

from diptych.models.checkpoints.maps.keys import Names, Source, affine, leading, one
from diptych.models.config import EvaConfig

_TRUNK = "visual.trunk"


def names(config: EvaConfig) -> Names:
    """Each of our keys of the picture tower, `image.…`, with where it lies."""
    found: Names = {
        "image.position": one(f"{_TRUNK}.pos_embed", leading(1)),
        "image.patch_embed.weight": one(f"{_TRUNK}.patch_embed.proj.weight"),
        **affine("image.norm_post", f"{_TRUNK}.norm"),
        **affine("image.projection", f"{_TRUNK}.head"),
    }
    if config.cls_token:
        found["image.cls_token"] = one(f"{_TRUNK}.cls_token", leading(2))
    if config.pre_norm:
        found |= affine("image.norm_pre", f"{_TRUNK}.norm_pre")
    else:
        found["image.patch_embed.bias"] = one(f"{_TRUNK}.patch_embed.proj.bias")
    for i in range(config.layers):
        found |= _block(config, f"image.blocks.{i}", f"{_TRUNK}.blocks.{i}")
    if config.pool == "map":
        found |= _pool("image.pool", f"{_TRUNK}.attn_pool")
    return found


def _block(config: EvaConfig, ours: str, theirs: str) -> Names:
    found = affine(f"{ours}.norm1", f"{theirs}.norm1") | affine(f"{ours}.norm2", f"{theirs}.norm2")
    found |= _in_proj(config, f"{ours}.attention.in_proj", f"{theirs}.attn")
    found |= affine(f"{ours}.attention.out_proj", f"{theirs}.attn.proj")
    if config.inner_norm:
        found |= affine(f"{ours}.attention.norm", f"{theirs}.attn.norm")
    found |= affine(f"{ours}.mlp.fc1", f"{theirs}.mlp.fc1") | affine(f"{ours}.mlp.fc2", f"{theirs}.mlp.fc2")
    if config.swiglu and config.inner_norm:  # timm packs the gate only where no norm follows it
        for kind in ("weight", "bias"):
            found[f"{ours}.mlp.fc1.{kind}"] = Source((f"{theirs}.mlp.fc1_g.{kind}", f"{theirs}.mlp.fc1_x.{kind}"))
        found |= affine(f"{ours}.mlp.norm", f"{theirs}.mlp.norm")
    return found


def _in_proj(config: EvaConfig, ours: str, theirs: str) -> Names:
    if config.key_bias:
        return affine(ours, f"{theirs}.qkv")
    if config.inner_norm:
        return {
            f"{ours}.weight": Source(tuple(f"{theirs}.{x}_proj.weight" for x in "qkv")),
            f"{ours}.bias": Source((f"{theirs}.q_proj.bias", None, f"{theirs}.v_proj.bias")),
        }
    return {
        f"{ours}.weight": one(f"{theirs}.qkv.weight"),
        f"{ours}.bias": Source((f"{theirs}.q_bias", None, f"{theirs}.v_bias")),
    }


def _pool(ours: str, theirs: str) -> Names:
    found: Names = {f"{ours}.probe": one(f"{theirs}.latent")}
    for kind in ("weight", "bias"):
        found[f"{ours}.attention.in_proj.{kind}"] = Source((f"{theirs}.q.{kind}", f"{theirs}.kv.{kind}"), shares=(1, 2))
    found |= affine(f"{ours}.attention.out_proj", f"{theirs}.proj") | affine(f"{ours}.norm", f"{theirs}.norm")
    return found | affine(f"{ours}.mlp.fc1", f"{theirs}.mlp.fc1") | affine(f"{ours}.mlp.fc2", f"{theirs}.mlp.fc2")
