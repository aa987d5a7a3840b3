"""Towers prepared once for a CPU's matrix kernels: the layers of the torch runtime.

`pack` copies a tower and gives its linear layers and convolutions weights that lie as oneDNN wants them, in float32,
bfloat16 or int8, with the activation in the same kernel; these are the operators that `torch.compile` writes for a
CPU, called without compiling anything. Everything between the layers stays float32: norms, softmax, residuals.
The parameters are shared with the original, the packed weights are copies: a tower that goes on training must be packed
again. Training, GPUs and int8 convolutions are not here.
"""

import copy
import functools
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.models.config import Activation
from diptych.models.efficientnet import SameConv
from diptych.models.int8 import Int8Linear, Int8Mlp
from diptych.models.layers import Attention, MapPool, Mlp

QUICK = 1.702
"""QuickGELU's factor: x · sigmoid(1.702 x) is swish(1.702 x) / 1.702, and oneDNN has swish."""


def pack(tower: nn.Module, precision: Literal["fp32", "bf16", "int8"]) -> nn.Module:
    """A copy of the tower for inference on this CPU.

    Int8 is for the layers inside the blocks; projections at the end are a thousandth of the work and stay float32.
    ValueError when there is no layer that could be int8.
    """
    packed = copy.deepcopy(tower, {id(p): p for p in [*tower.parameters(), *tower.buffers()]}).eval()
    if precision == "int8":
        _quantise(packed)
        if not any(isinstance(module, Int8Linear) for module in packed.modules()):
            raise ValueError(f"{type(tower).__name__} has no transformer blocks, which is what int8 is for; "
                             "take precision 'fp32' or 'bf16'")
    _pack(packed, torch.bfloat16 if precision == "bf16" else torch.float32)
    return packed


@functools.cache
def available() -> bool:
    """Whether this build of torch has the operators."""
    try:
        PackedLinear(nn.Linear(1, 1), torch.float32)
    except (AttributeError, RuntimeError):  # a build without oneDNN
        return False
    return True


class PackedLinear(nn.Module):
    """`linear`, computed in `dtype`, with an activation after it. Gives float32, or `dtype` if `narrow`.

    `gain` multiplies the weights and `bias_gain` the bias. `weight` and `bias` are the original's: pooling heads take
    them apart.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, activation: Activation | None = None, gain: float = 1.0,
                 bias_gain: float = 1.0, narrow: bool = False):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.dtype, self.narrow = dtype, narrow
        self.kernel = torch.ops.mkldnn._reorder_linear_weight((linear.weight.detach() * gain).to(dtype).contiguous())
        self.shift = None if linear.bias is None else (linear.bias.detach() * bias_gain).to(dtype)
        match activation:
            case None:
                self.after, self.algorithm = "none", ""
            case "gelu":
                self.after, self.algorithm = "gelu", "none"
            case "gelu_tanh":
                self.after, self.algorithm = "gelu", "tanh"
            case "quick_gelu":
                self.after, self.algorithm = "swish", ""

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """activation(x · weightᵀ + bias)."""
        y = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self.kernel, self.shift, self.after, [], self.algorithm)
        return y if self.narrow else y.float()


class PackedConv(nn.Module):
    """A `SameConv` in float32 with its ReLU6 in the same kernel."""

    def __init__(self, same: SameConv):
        super().__init__()
        self.same, self.kernel = same, None

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs h w"]:
        """As the original."""
        conv = self.same.conv
        about = (conv.padding, conv.stride, conv.dilation, conv.groups)
        x = self.same.padded(x)
        if self.kernel is None:  # how it must lie depends on the size of the maps
            self.kernel = torch._C._nn.mkldnn_reorder_conv2d_weight(
                conv.weight.detach().contiguous().to_mkldnn(), *about, list(x.shape))
        after = ("hardtanh", [0.0, 6.0], "") if self.same.relu6 else ("none", [], "")
        return torch.ops.mkldnn._convolution_pointwise(x, self.kernel, conv.bias, *about, *after)


class PackedMemoryAttention(nn.Module):
    """The `Attention` of a pooling head, whose queries are not its keys."""

    def __init__(self, attention: Attention, dtype: torch.dtype):
        super().__init__()
        width = attention.in_proj.in_features
        self.heads, self.in_proj = attention.heads, attention.in_proj  # packed NaFlex takes these
        parts = (nn.Linear(width, n, device="meta") for n in (width, 2 * width))
        self.q, self.kv = (
            PackedLinear(_with(part, weight, bias), dtype) for part, weight, bias in zip(
                parts, attention.in_proj.weight.tensor_split([width]), attention.in_proj.bias.tensor_split([width]),
                strict=True))
        self.out_proj = PackedLinear(attention.out_proj, dtype)

    def forward(
        self, query: Float[Tensor, "batch q_len width"], memory: Float[Tensor, "batch kv_len width"]
    ) -> Float[Tensor, "batch q_len width"]:
        """As the original, without a mask."""
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for t in (self.q(query), *self.kv(memory).chunk(2, dim=-1)))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _with(linear: nn.Linear, weight: Tensor, bias: Tensor) -> nn.Linear:
    linear.weight, linear.bias = (nn.Parameter(t.detach(), requires_grad=False) for t in (weight, bias))
    return linear


def _pack(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace what can be packed below `module`."""
    for name, child in module.named_children():
        match child:
            case nn.Linear():
                setattr(module, name, PackedLinear(child, dtype))
            case SameConv() if dtype == torch.float32:
                setattr(module, name, PackedConv(child))
            case Mlp():
                gain = QUICK if child.activation == "quick_gelu" else 1.0
                child.fc1 = PackedLinear(child.fc1, dtype, child.activation, gain, gain, narrow=True)
                child.act = nn.Identity()
                child.fc2 = PackedLinear(child.fc2, dtype, gain=1 / gain)
            case MapPool():
                child.attention = PackedMemoryAttention(child.attention, dtype)
                _pack(child, dtype)
            case PackedMemoryAttention() | Int8Linear() | Int8Mlp():
                pass
            case _:
                _pack(child, dtype)
