"""timm's `VisionTransformer` as it stands in open_clip's files under `visual.trunk.`: to our tower's tensors and back.

SigLIP's and SigLIP 2's at a fixed resolution, MobileCLIP2-L-14's, and MobileCLIP-B's, whose patches are three
convolutions: reading it goes through `merge`, which takes their BatchNorms into them, and writing through `split`.
"""

from collections.abc import Mapping

from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps import batch_norm
from diptych.models.checkpoints.maps.keys import Names, Shape, Source, affine, leading, one
from diptych.models.config import VitConfig

EPS = 1e-5
_TRUNK = "visual.trunk"
_STEM = {0: f"{_TRUNK}.patch_embed.backbone.0", 2: f"{_TRUNK}.patch_embed.backbone.1",
         4: f"{_TRUNK}.patch_embed.backbone.2"}
"""Where our convolutions lie; GELU is in between. The first two have a norm there, and no bias."""


def names(config: VitConfig) -> Names:
    """Each tensor of our picture tower with its key in merged weights."""
    found: Names = {
        "image.position": one(f"{_TRUNK}.pos_embed", leading(1)),
        **affine("image.norm_post", f"{_TRUNK}.norm"),
    }
    if config.stem == "conv":
        for place, there in _STEM.items():
            found |= affine(f"image.patch_embed.{place}", f"{there}.conv")
    else:
        found["image.patch_embed.weight"] = one(f"{_TRUNK}.patch_embed.proj.weight")
        if config.patch_bias:
            found["image.patch_embed.bias"] = one(f"{_TRUNK}.patch_embed.proj.bias")
    if config.has_cls:
        found["image.cls_token"] = one(f"{_TRUNK}.cls_token", leading(2))
    if config.pre_norm:
        found |= affine("image.norm_pre", f"{_TRUNK}.norm_pre")
    if config.projection:
        found |= affine("image.projection", f"{_TRUNK}.head")
    if config.pool == "map":
        found |= _map_pool("image.pool", f"{_TRUNK}.attn_pool")
    for i in range(config.layers):
        block, layer = f"image.blocks.{i}", f"{_TRUNK}.blocks.{i}"
        found |= affine(f"{block}.attention.in_proj", f"{layer}.attn.qkv")
        found |= affine(f"{block}.attention.out_proj", f"{layer}.attn.proj")
        for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
            found |= affine(f"{block}.{part}", f"{layer}.{part}")
    return found


def _map_pool(ours: str, theirs: str) -> Names:
    found: Names = {f"{ours}.probe": one(f"{theirs}.latent")}
    for kind in ("weight", "bias"):
        found[f"{ours}.attention.in_proj.{kind}"] = Source((f"{theirs}.q.{kind}", f"{theirs}.kv.{kind}"), shares=(1, 2))
    found |= affine(f"{ours}.attention.out_proj", f"{theirs}.proj")
    for part in ("norm", "mlp.fc1", "mlp.fc2"):
        found |= affine(f"{ours}.{part}", f"{theirs}.{part}")
    return found


def merge(published: Mapping[str, Tensor], config: VitConfig) -> dict[str, Tensor]:
    """The weights with each convolution and its BatchNorm as one convolution, in float32; other keys as they are.

    CheckpointError names a tensor that is missing, misshapen, or where the layout has none.
    """
    rest = dict(published)
    for conv, norm, shape in _normed(config):
        if f"{conv}.bias" in rest:
            raise CheckpointError(f"the weights have '{conv}.bias': a convolution before a BatchNorm has none")
        kernel = batch_norm.take(rest, f"{conv}.weight", shape)
        gain, shift = batch_norm.take_affine(rest, norm, shape[0], EPS)
        rest[f"{conv}.weight"] = (kernel * gain[:, None, None, None]).float()
        rest[f"{conv}.bias"] = shift.float()
    return rest


def split(merged: Mapping[str, Tensor], config: VitConfig) -> dict[str, Tensor]:
    """Merged weights as published: the convolutions without bias, and after each a BatchNorm that only adds it.

    The inverse of `merge` for float32 weights, to the last bit.
    """
    published = dict(merged)
    for conv, norm, _ in _normed(config):
        published |= batch_norm.idle(norm, published.pop(f"{conv}.bias"), EPS)
    return published


def _normed(config: VitConfig) -> list[tuple[str, str, Shape]]:
    """The convolutions that have a norm, their norms, and the shapes of their kernels."""
    if config.stem != "conv":
        return []
    narrow = config.width // 4
    return [(f"{_STEM[0]}.conv", f"{_STEM[0]}.bn", (narrow, 3, 4, 4)),
            (f"{_STEM[2]}.conv", f"{_STEM[2]}.bn", (narrow, narrow, 2, 2))]
