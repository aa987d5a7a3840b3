"""A picture tower at another resolution: its position grid, and the kernels of its patches, resized.

Positions are resized bilinearly with antialias, as SigLIP 2's NaFlex training does. Patch kernels are resized by
pseudo-inverse (PI-resize, FlexiViT, arXiv 2212.08013 §3.4), under which a patch and the same patch resized give the
same token, as nearly as the resizing loses nothing. Square grids only; the text tower stays as it is.
"""

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diptych.models.config import (
    EfficientNetConfig,
    EvaConfig,
    FastVitConfig,
    ImageConfig,
    NaflexConfig,
    ResNetConfig,
    TwoTowerConfig,
    VitConfig,
)
from diptych.models.vit import resize_positions


def resize(
    state: Mapping[str, Tensor], towers: TwoTowerConfig, image_size: int | None = None, patch_size: int | None = None
) -> tuple[dict[str, Tensor], TwoTowerConfig]:
    """State dict and configuration of the same towers for pictures of `image_size` and patches of `patch_size` pixels.

    None keeps a size. ValueError when the picture tower has no grid that could be resized.
    """
    old = towers.image
    new = _config(old, image_size, patch_size)
    changed = dict(state)
    if isinstance(old, VitConfig | EvaConfig) and isinstance(new, VitConfig | EvaConfig):
        if new.patch_size != old.patch_size:
            changed["image.patch_embed.weight"] = resize_patches(state["image.patch_embed.weight"], new.patch_size)
        if new.grid != old.grid:
            prefix = old.position_prefix if isinstance(old, VitConfig) else int(old.cls_token)
            changed["image.position"] = resize_positions(state["image.position"], new.grid, prefix)
    if isinstance(old, ResNetConfig) and isinstance(new, ResNetConfig) and new.grid != old.grid:
        changed["image.pool.position"] = resize_positions(state["image.pool.position"], new.grid, prefix=1)
    return changed, dataclasses.replace(towers, image=new)


def resize_patches(kernels: Float[Tensor, "width channels p p"], size: int) -> Float[Tensor, "width channels s s"]:
    """Patch kernels for patches of `size` pixels: (Bᵀ)⁺ w, where B is the bilinear resizing from here to there."""
    old = kernels.shape[-1]
    if size == old:
        return kernels
    pixels = torch.eye(old * old, dtype=torch.float64).reshape(old * old, 1, old, old)
    # one column a pixel: what that pixel alone becomes, so resizing a patch x is B @ x
    matrix = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    inverse = torch.linalg.pinv(matrix.reshape(old * old, size * size))  # pinv of Bᵀ
    resized = kernels.double().flatten(2) @ inverse.T
    return resized.reshape(*kernels.shape[:2], size, size).to(kernels.dtype)


def _config(image: ImageConfig, image_size: int | None, patch_size: int | None) -> ImageConfig:
    for what, asked in (("image_size", image_size), ("patch_size", patch_size)):
        if asked is not None and (not isinstance(asked, int) or asked < 1):
            raise ValueError(f"{what} is a number of pixels, at least 1, got {asked!r}")
    size = image_size or image.image_size
    match image:
        case VitConfig() | EvaConfig():
            if patch_size is not None and isinstance(image, VitConfig) and image.stem == "conv":
                raise ValueError("the convolutions of stem='conv' make patches of 16 pixels; leave patch_size out")
            if size < (patch_size or image.patch_size):
                raise ValueError(f"a picture of {size} pixels is smaller than a patch of "
                                 f"{patch_size or image.patch_size}")
            return dataclasses.replace(image, image_size=size, patch_size=patch_size or image.patch_size)
        case EfficientNetConfig() | FastVitConfig() | ResNetConfig() if patch_size is None:
            if size < 32:
                raise ValueError(f"a picture of {size} pixels is too small for a tower that divides its sides by 32")
            return dataclasses.replace(image, image_size=size)
    if isinstance(image, NaflexConfig):
        raise ValueError("a native-aspect tower takes pictures of any size as they are: change max_patches of its "
                         "preprocessing instead of image_size")
    what = "image_size" if patch_size is None else "patch_size"
    raise ValueError(f"{what} cannot be changed: {image.kind} has no grid of patches to resize; leave {what} out")
