"""FastViT, the picture tower of MobileCLIP and MobileCLIP2: plain convolutions, and attention on the smallest maps.

arXiv 2303.14189 (FastViT), 2206.04040 (MobileOne), 2203.06717 (RepLKNet), 2311.17049 (MobileCLIP), 2508.20691
(MobileCLIP2). In training every convolution here has branches with BatchNorms beside it, and residual branches have
scales; `checkpoints/maps/fastvit.py` merges all of them on reading. The branches are not here, so tuning this tower
tunes the merged convolutions.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.models.config import FastVitConfig

HEAD_WIDTH = 32


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution whose maps are 1 / `stride` of the sides that come in, rounded upwards."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups)


class Gate(nn.Module):
    """Squeeze-and-excite (arXiv 1709.01507): every channel by a factor that the means of all channels decide."""

    def __init__(self, width: int, reduction: int):
        super().__init__()
        self.fc1, self.fc2 = conv(width, width // reduction, 1), conv(width // reduction, width, 1)

    def forward(self, x: Float[Tensor, "batch width h w"]) -> Float[Tensor, "batch width h w"]:
        """x · sigmoid(fc2(relu(fc1(mean x))))."""
        return x * self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))).sigmoid()


class Stem(nn.Module):
    """Pixels to the first maps, at a quarter of the size."""

    def __init__(self, width: int):
        super().__init__()
        self.full, self.depthwise = conv(3, width, 3, stride=2), conv(width, width, 3, stride=2, groups=width)
        self.pointwise = conv(width, width, 1)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """Three convolutions, each with GELU."""
        return F.gelu(self.pointwise(F.gelu(self.depthwise(F.gelu(self.full(pixels))))))


class Downsample(nn.Module):
    """Maps of half the size and of other channels."""

    def __init__(self, inputs: int, outputs: int, gated: bool):
        super().__init__()
        self.large = conv(inputs, outputs, 7, stride=2, groups=inputs)
        self.gate = Gate(outputs, 4) if gated else nn.Identity()
        self.pointwise = conv(outputs, outputs, 1)

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs half_h half_w"]:
        """Two convolutions, each with GELU."""
        return F.gelu(self.pointwise(F.gelu(self.gate(self.large(x)))))


class ConvMlp(nn.Module):
    """A depthwise convolution, and an MLP at every place."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.depthwise = conv(width, width, 7, groups=width)
        self.fc1, self.fc2 = conv(width, hidden, 1), conv(hidden, width, 1)

    def forward(self, x: Float[Tensor, "batch width h w"]) -> Float[Tensor, "batch width h w"]:
        """fc2(gelu(fc1(depthwise(x))))."""
        return self.fc2(F.gelu(self.fc1(self.depthwise(x))))


class MixerBlock(nn.Module):
    """RepMixer: tokens are mixed by one depthwise convolution, which has taken its residual in."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.mixer, self.mlp = conv(width, width, 3, groups=width), ConvMlp(width, hidden)

    def forward(self, x: Float[Tensor, "batch width h w"]) -> Float[Tensor, "batch width h w"]:
        """mixer(x), then + mlp(·)."""
        x = self.mixer(x)
        return x + self.mlp(x)


class ChannelAffine(nn.Module):
    """What is left of a BatchNorm with no convolution before it: a gain and a shift for each channel."""

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """x · weight + bias."""
        return x * self.weight + self.bias


class AttentionBlock(nn.Module):
    """Tokens are mixed by attention among all places of a map. Its q, k and v have no bias."""

    def __init__(self, width: int, hidden: int, norm: nn.Module):
        super().__init__()
        self.norm = norm
        self.in_proj, self.out_proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.mlp = ConvMlp(width, hidden)

    def forward(self, x: Float[Tensor, "batch width h w"]) -> Float[Tensor, "batch width h w"]:
        """x + attention(norm(x)), then + mlp(·)."""
        x = x + self._attend(self.norm(x.flatten(2).transpose(1, 2))).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.mlp(x)

    def _attend(self, tokens: Float[Tensor, "batch len width"]) -> Float[Tensor, "batch len width"]:
        q, k, v = (t.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2) for t in self.in_proj(tokens).chunk(3, dim=-1))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Stage(nn.Module):
    """A downsampler, but in the first stage; a positional convolution where attention follows; blocks of one width."""

    def __init__(self, config: FastVitConfig, index: int):
        super().__init__()
        c, width, attends = config, config.widths[index], config.attends(index)
        self.downsample = Downsample(c.widths[index - 1], width, c.gated(index)) if index else nn.Identity()
        self.position = conv(width, width, 7, groups=width) if attends else None
        norm = nn.LayerNorm if c.attention_norm == "layer" else ChannelAffine
        self.blocks = nn.ModuleList(
            AttentionBlock(width, width * c.mlp_ratio, norm(width)) if attends
            else MixerBlock(width, width * c.mlp_ratio)
            for _ in range(c.depths[index])
        )

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h2 w2"]:
        """The maps after the last block."""
        x = self.downsample(x)
        if self.position is not None:  # the residual stays outside: 1 + a small weight would lose its last bits
            x = x + self.position(x)
        for block in self.blocks:
            x = block(x)
        return x


class FastVit(nn.Module):
    """Pixels [batch, 3, size, size], normalised as the checkpoint's preprocessing says, to features [batch, embed].

    Any size of picture goes in; the published weights were trained at `config.image_size`.
    """

    def __init__(self, config: FastVitConfig):
        super().__init__()
        self.config = c = config
        self.stem = Stem(c.widths[0])
        self.stages = nn.ModuleList(Stage(c, index) for index in range(len(c.widths)))
        width = c.widths[-1]
        self.expand, self.gate = conv(width, 2 * width, 3, groups=width), Gate(2 * width, 16)
        self.projection = nn.Linear(2 * width, c.projection)

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return self.config.projection

    def tokens(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The last maps, whose mean is projected."""
        x = self.stem(pixels)
        for stage in self.stages:
            x = stage(x)
        return F.gelu(self.gate(self.expand(x)))

    def patch_tokens(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch cells channels"]:
        """The cells of `tokens`, row by row. The mean of their projections is what `forward` gives."""
        return self.tokens(pixels).flatten(2).transpose(1, 2)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed"]:
        """Projected features, not yet of unit norm."""
        return self.projection(self.tokens(pixels).mean(dim=(2, 3)))
