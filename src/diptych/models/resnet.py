"""CLIP's ModifiedResNet: OpenAI's RN50, RN101, RN50x4, RN50x16 and RN50x64.

arXiv 2103.00020 §2.4: a ResNet-D (arXiv 1812.01187) whose strided convolutions are an average pool and a convolution of
stride 1 (arXiv 1904.11486), with attention pooling in which the mean of the last map is the only query. BatchNorms are
merged into the convolutions when the weights are read (`checkpoints/maps/resnet.py`), so this tower can be tuned; it is
not meant to be trained from nothing.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.models.config import ResNetConfig

EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut. `stride` 2 halves the map, by averaging."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.stride, outputs = stride, width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs h w"]:
        """relu(convolutions(x) + shortcut(x))."""
        y = F.relu(self.conv2(F.relu(self.conv1(x), inplace=True)), inplace=True)
        if self.stride > 1:
            x, y = F.avg_pool2d(x, self.stride), F.avg_pool2d(y, self.stride)
        return F.relu(self.conv3(y) + self.shortcut(x), inplace=True)


class AttentionPool(nn.Module):
    """The cells of a map attend once, from their mean: cells [batch, grid · grid, width] to [batch, outputs].

    `position` has the mean's row first, then those of the cells, row by row.
    """

    def __init__(self, grid: int, width: int, heads: int, outputs: int):
        super().__init__()
        self.heads = heads
        self.position = nn.Parameter(torch.randn(grid**2 + 1, width) * width**-0.5)
        self.in_proj = nn.Linear(width, 3 * width)  # queries, keys, values
        self.out_proj = nn.Linear(width, outputs)

    def forward(self, cells: Float[Tensor, "batch cells width"]) -> Float[Tensor, "batch outputs"]:
        """The pooled vector. ValueError when the map is not of the grid that has positions."""
        if cells.shape[1] + 1 != len(self.position):
            raise ValueError(f"the map has {cells.shape[1]} cells, the positions {len(self.position) - 1}: pictures "
                             "must have the tower's image_size")
        x = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1) + self.position
        # only the mean's query is ever looked at: the others would cost a third of the pool's products
        (wq, wkv), (bq, bkv) = (p.tensor_split([x.shape[-1]]) for p in (self.in_proj.weight, self.in_proj.bias))
        k, v = F.linear(x, wkv, bkv).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (F.linear(x[:, :1], wq, bq), k, v))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v)[:, :, 0].flatten(1))


class ResNet(nn.Module):
    """Pixels [batch, 3, size, size], normalised as the checkpoint's preprocessing says, to features [batch, embed]."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.config = c = config
        half = c.width // 2
        self.stem = nn.ModuleList([
            nn.Conv2d(3, half, 3, stride=2, padding=1),
            nn.Conv2d(half, half, 3, padding=1),
            nn.Conv2d(half, c.width, 3, padding=1),
        ])
        self.stages, inputs = nn.ModuleList(), c.width
        for stage, blocks in enumerate(c.layers):
            width, stride = c.width * 2**stage, 2 if stage else 1
            outputs = width * EXPANSION
            first = Bottleneck(inputs, width, stride)
            self.stages.append(nn.Sequential(first, *(Bottleneck(outputs, width, 1) for _ in range(blocks - 1))))
            inputs = outputs
        self.pool = AttentionPool(c.grid, inputs, c.heads, c.projection)

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return self.config.projection

    def tokens(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The last map, 32 · width channels at 1/32 of the size, for pictures of any size."""
        x = pixels
        for conv in self.stem:
            x = F.relu(conv(x), inplace=True)
        x = F.avg_pool2d(x, 2)
        for stage in self.stages:
            x = stage(x)
        return x

    def patch_tokens(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch cells channels"]:
        """The cells of the last map, row by row."""
        return self.tokens(pixels).flatten(2).transpose(1, 2)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed"]:
        """Pooled features, not yet of unit norm."""
        return self.pool(self.patch_tokens(pixels))
