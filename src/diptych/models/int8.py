"""Linear layers in int8 with a scale for each token: nothing to calibrate, and a vector that no batch-mate changes.

Weights are symmetric with one scale an output channel. Activations are quantised as they come, each token by its own
greatest value (arXiv 2206.01861 calls it token-wise), to the unsigned bytes that AVX-512 VNNI multiplies with signed
ones. What follows GELU is never below −0.171, so its 256 steps begin there and not at minus its maximum. Convolutions,
attention's two products and static scales are not here.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8
from torch import Tensor, nn

from diptych.models.config import Activation
from diptych.models.layers import Mlp

LOWEST = -0.171
"""Below the minimum of all three GELUs (−0.17004, −0.16997, −0.16362)."""


class Int8Linear(nn.Module):
    """`linear` in int8, float32 in and out. With `lowest`, for inputs that are never below it.

    x = scale · (byte − 128) in the one case and scale · byte + lowest in the other, so that
    x · w = scale · (byte · w) + a constant of each output channel, which is in the bias.
    """

    def __init__(self, linear: nn.Linear, lowest: float | None = None):
        super().__init__()
        self.weight, self.bias, self.lowest = linear.weight, linear.bias, lowest
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        signed: Int8[Tensor, "outputs inputs"] = (weight / scales[:, None]).round().to(torch.int8)
        self.kernel = torch.ops.onednn.qlinear_prepack(signed, None)
        self.scales, self.zeros = scales, torch.zeros(len(scales), dtype=torch.long)
        sums = signed.sum(dim=1, dtype=torch.float32) * scales
        self.offset = -128 * sums if lowest is None else None
        shift = torch.zeros_like(scales) if linear.bias is None else linear.bias.detach().float()
        self.shift = shift if lowest is None else shift + lowest * sums

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """x · weightᵀ + bias, to within the rounding of both to 8 bits."""
        rows = x.flatten(0, -2).float()
        # round to the signed byte and flip its sign bit: torch converts to int8 nine times faster than to uint8
        if self.lowest is None:
            scale = torch.maximum(rows.amax(-1, keepdim=True), -rows.amin(-1, keepdim=True)).clamp_(min=1e-12) / 127
            signed = (rows * scale.reciprocal()).round_().to(torch.int8)
        else:
            scale = (rows.amax(-1, keepdim=True).clamp_(min=0.0) - self.lowest) / 255
            signed = (rows * scale.reciprocal()).add_(-128 - self.lowest / scale).round_().to(torch.int8)
        bytes_ = signed.bitwise_xor_(-128).view(torch.uint8)
        product = torch.ops.onednn.qlinear_pointwise(
            bytes_, 1.0, 0, self.kernel, self.scales, self.zeros, self.offset, 1.0, 0, torch.float32, "none", [], "")
        return product.mul_(scale).add_(self.shift).view(*x.shape[:-1], -1)


class Int8Mlp(nn.Module):
    """An `Mlp` in int8."""

    def __init__(self, mlp: Mlp):
        super().__init__()
        self.fc1, self.fc2 = Int8Linear(mlp.fc1), Int8Linear(mlp.fc2, LOWEST)
        self.activation: Activation = mlp.activation

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """x → fc2(act(fc1(x)))."""
        return self.fc2(activate(self.fc1(x), self.activation))


def activate(x: Float[Tensor, "*batch width"], name: Activation) -> Float[Tensor, "*batch width"]:
    """The activation of that name, which may be in place.

    tanh-GELU is x · sigmoid(2 √(2/π) (x + 0.044715 x³)): the same function, in half the time of torch's tanh.
    """
    match name:
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            inner = (x * x).mul_(0.07135481282).add_(1.59576912161).mul_(x)
            return inner.sigmoid_().mul_(x)
        case "quick_gelu":
            return (x * 1.702).sigmoid_().mul_(x)


def supported() -> bool:
    """Whether this processor multiplies bytes exactly and fast; without VNNI the sums of two products saturate."""
    return bool(torch.cpu._is_vnni_supported())
