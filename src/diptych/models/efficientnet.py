"""EfficientNet-Lite0 as a picture tower, for locked-image tuning (LiT) from its ImageNet weights.

arXiv 1905.11946 and the TPU team's Lite variant: no squeeze-and-excite, ReLU6, fixed stem and head, TensorFlow's SAME
padding (extra pixel on the right and bottom). Its BatchNorms are merged into the convolutions when the ImageNet weights
are converted (`checkpoints/efficientnet_lite0.py`) and stay merged while tuning: their statistics would drift on a few
thousand drawings, and every pass is cheaper without them.
"""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.models.config import EfficientNetConfig


class Stage(NamedTuple):
    """`repeats` inverted residual blocks; the first one has `stride`."""

    kernel: int
    repeats: int
    inputs: int
    outputs: int
    expand: int
    stride: int


STAGES = (
    Stage(3, 1, 32, 16, 1, 1),
    Stage(3, 2, 16, 24, 6, 2),
    Stage(5, 2, 24, 40, 6, 2),
    Stage(3, 3, 40, 80, 6, 2),
    Stage(5, 3, 80, 112, 6, 1),
    Stage(5, 4, 112, 192, 6, 2),
    Stage(3, 1, 192, 320, 6, 1),
)


class SameConv(nn.Module):
    """A convolution with TensorFlow's SAME padding, and ReLU6 if asked for; a stride-2 one gives ceil(size / 2)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu6: bool = False):
        super().__init__()
        self.relu6 = relu6
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=0 if stride > 1 else kernel // 2, groups=groups)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs h w"]:
        """conv(x), with the odd pixel of padding on the right and the bottom."""
        x = self.conv(self.padded(x))
        return F.relu6(x) if self.relu6 else x

    def padded(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch inputs h w"]:
        """What the convolution itself does not pad."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if stride > 1:
            total = [max((-(-s // stride) - 1) * stride + kernel - s, 0) for s in x.shape[-2:]]
            top, left = (t // 2 for t in total)
            x = F.pad(x, (left, total[1] - left, top, total[0] - top))
        return x


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise, project 1×1; a residual where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int):
        super().__init__()
        middle = inputs * expand
        self.expand = SameConv(inputs, middle, 1, relu6=True) if expand > 1 else None
        self.depthwise = SameConv(middle, middle, kernel, stride, groups=middle, relu6=True)
        self.project = SameConv(middle, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs h w"]:
        """The block's output, with the input added where shapes agree."""
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class Trunk(nn.Module):
    """The convolutional part: pixels to pooled features [batch, 1280]."""

    def __init__(self):
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2, relu6=True)
        blocks = [
            InvertedResidual(s.outputs if i else s.inputs, s.outputs, s.expand, s.kernel, 1 if i else s.stride)
            for s in STAGES for i in range(s.repeats)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConv(320, 1280, 1, relu6=True)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1280"]:
        """Mean-pooled features, non-negative (after ReLU6)."""
        return self.late(self.early(pixels, len(self.blocks)), len(self.blocks))

    def early(self, pixels: Float[Tensor, "batch 3 height width"], blocks: int) -> Float[Tensor, "batch c h w"]:
        """The maps after the stem and the first `blocks` blocks."""
        x = self.stem(pixels)
        for block in self.blocks[:blocks]:
            x = block(x)
        return x

    def cells(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch cells 1280"]:
        """The last map's cells, row by row, whose mean `forward` gives."""
        return self.head(self.early(pixels, len(self.blocks))).flatten(2).transpose(1, 2)

    def late(self, maps: Float[Tensor, "batch c h w"], blocks: int) -> Float[Tensor, "batch 1280"]:
        """What `forward` gives, from the maps that `early` gave after as many blocks."""
        for block in self.blocks[blocks:]:
            maps = block(maps)
        return self.head(maps).mean(dim=(2, 3))


class Head(nn.Module):
    """Pooled features to the embedding: linear, or an MLP with GELU beside a linear skip.

    The features are standardised per picture first: line art excites the trunk less than a photograph does, and only
    the pattern tells what is seen.
    """

    def __init__(self, config: EfficientNetConfig):
        super().__init__()
        c = config
        self.skip = nn.Linear(c.features, c.projection)
        self.fc1 = nn.Linear(c.features, c.hidden) if c.hidden else None
        self.fc2 = nn.Linear(c.hidden, c.projection) if c.hidden else None
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch embed"]:
        """Projected features, not yet of unit norm."""
        x = self.dropout(F.layer_norm(features, features.shape[-1:]))
        if self.fc1 is None or self.fc2 is None:
            return self.skip(x)
        return self.skip(x) + self.fc2(self.dropout(F.gelu(self.fc1(x))))


class EfficientNet(nn.Module):
    """Trunk and head. Pixels are normalised as (x − 127) / 128, that is mean 127/255 and std 128/255."""

    def __init__(self, config: EfficientNetConfig):
        super().__init__()
        self.config, self.trunk, self.head = config, Trunk(), Head(config)

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return self.config.projection

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed"]:
        """Projected features, not yet of unit norm."""
        return self.head(self.trunk(pixels))
