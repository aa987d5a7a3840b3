"""The ViT picture tower: every published plain ViT of the CLIP and SigLIP families, by configuration.

arXiv 2010.11929 (ViT), 2103.00020 (CLIP: cls token, pre-norm, projection), 2303.15343 (SigLIP: MAP pooling).
Rotary positions, packing and windowed attention are not here.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.models.config import VitConfig
from diptych.models.layers import Block, MapPool


class Vit(nn.Module):
    """Pixels [batch, 3, size, size], normalised as the checkpoint's preprocessing says, to features [batch, embed]."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.config = c = config
        self.patch_embed = nn.Conv2d(3, c.width, c.patch_size, stride=c.patch_size, bias=c.patch_bias)
        self.cls_token = nn.Parameter(torch.randn(c.width) * c.width**-0.5) if c.pool == "cls" else None
        length = c.grid**2 + (c.pool == "cls")
        self.position = nn.Parameter(torch.randn(length, c.width) * c.width**-0.5)
        self.norm_pre = nn.LayerNorm(c.width, c.norm_eps) if c.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(c.width, c.heads, c.mlp_width, c.activation, c.norm_eps) for _ in range(c.layers)
        )
        self.norm_post = nn.LayerNorm(c.width, c.norm_eps)
        self.pool = MapPool(c.width, c.heads, c.mlp_width, c.activation, c.norm_eps) if c.pool == "map" else None
        self.projection = nn.Linear(c.width, c.projection, bias=False) if c.projection else nn.Identity()

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return self.config.projection or self.config.width

    def tokens(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch len channels"]:
        """The sequence after the last block, before the final norm and pooling (cls first where there is one)."""
        x = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), 1, -1), x], dim=1)
        x = self.norm_pre(x + self.position)
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed"]:
        """Projected features, not yet of unit norm."""
        x = self.tokens(pixels)
        match self.config.pool:
            case "cls":  # CLIP normalises the pooled token only
                pooled = self.norm_post(x[:, 0])
            case "mean":
                pooled = self.norm_post(x).mean(dim=1)
            case "map":
                assert self.pool is not None
                pooled = self.pool(self.norm_post(x))
        return self.projection(pooled)


def resize_positions(position: Float[Tensor, "len width"], grid: int, prefix: int) -> Float[Tensor, "new_len width"]:
    """Learned positions resized to another square grid, bilinear with antialias (as NaFlex does); the first
    `prefix` rows (the cls token) are kept as they are. ValueError when the rest is not a square grid."""
    head, rest = position[:prefix], position[prefix:]
    side = round(len(rest) ** 0.5)
    if side * side != len(rest):
        raise ValueError(f"{len(rest)} positions do not form a square grid")
    square = rest.T.reshape(1, -1, side, side)
    resized = F.interpolate(square.float(), size=(grid, grid), mode="bilinear", antialias=True, align_corners=False)
    return torch.cat([head, resized.to(rest.dtype).flatten(2)[0].T])
