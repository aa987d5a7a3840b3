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
from diptych.models.resnet import AttentionPool
from diptych.models.vit import QueryPool


def pack(tower: nn.Module, precision: Literal["fp32", "bf16", "int8"]) -> nn.Module:
    """A copy of the tower for inference on this CPU.

    Int8 is for the layers inside the blocks of a transformer; pooling and projection are a fiftieth of the work and
    stay above. ValueError when the tower has no such blocks.
    """
    packed = copy.deepcopy(tower, {id(p): p for p in [*tower.parameters(), *tower.buffers()]}).eval()
    if precision == "int8":
        _quantise(blocks_of(packed))
    half = precision == "bf16" or (precision == "int8" and torch.cpu._is_avx512_bf16_supported())
    _pack(packed, torch.bfloat16 if half else torch.float32)
    return packed


def is_transformer(tower: nn.Module) -> bool:
    """Whether the tower has the blocks that int8 is for."""
    return hasattr(tower, "blocks") or hasattr(tower, "transformer")


def blocks_of(tower: nn.Module) -> nn.Module:
    """The part of a tower that int8 is for. ValueError when it is not a transformer."""
    if not is_transformer(tower):
        raise ValueError(f"int8 is for transformers, and {type(tower).__name__} is convolutional; take precision "
                         "'fp32' or 'bf16'")
    return tower.get_submodule("blocks" if hasattr(tower, "blocks") else "transformer")


@functools.cache
def available() -> bool:
    """Whether this build of torch has the operators."""
    try:
        PackedLinear(torch.ones(1, 1), None, torch.float32)
    except (AttributeError, RuntimeError):  # a build without oneDNN
        return False
    return True


class PackedLinear(nn.Module):
    """A linear layer computed in `dtype`, with an activation after it. Gives float32, or `dtype` if `narrow`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: Activation | None = None,
                 narrow: bool = False):
        super().__init__()
        self.dtype, self.narrow = dtype, narrow
        self.kernel = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous())
        self.shift = None if bias is None else bias.detach().to(dtype)
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
        """activation(x · weightᵀ + bias), where "quick_gelu" stands for x · sigmoid(x)."""
        y = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self.kernel, self.shift, self.after, [], self.algorithm)
        return y if self.narrow else y.float()


class PackedMlp(nn.Module):
    """An `Mlp`; between its layers the hidden states stay in `dtype`."""

    def __init__(self, mlp: Mlp, dtype: torch.dtype):
        super().__init__()
        # QuickGELU is x · sigmoid(1.702 x) = swish(1.702 x) / 1.702, and oneDNN has swish
        gain = 1.702 if mlp.activation == "quick_gelu" else 1.0
        fc1, fc2 = mlp.fc1, mlp.fc2
        self.fc1 = PackedLinear(fc1.weight * gain, fc1.bias * gain, dtype, mlp.activation, narrow=True)
        self.fc2 = PackedLinear(fc2.weight / gain, fc2.bias, dtype)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """x → fc2(act(fc1(x)))."""
        return self.fc2(self.fc1(x))


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
            reorder = torch._C._nn.mkldnn_reorder_conv2d_weight  # pyright: ignore[reportAttributeAccessIssue]
            self.kernel = reorder(conv.weight.detach().contiguous().to_mkldnn(), *about, list(x.shape))
        after = ("hardtanh", [0.0, 6.0], "") if self.same.relu6 else ("none", [], "")
        return torch.ops.mkldnn._convolution_pointwise(x, self.kernel, conv.bias, *about, *after)


class PackedMemoryAttention(nn.Module):
    """The `Attention` of a pooling head, whose queries are not its keys."""

    def __init__(self, attention: Attention, dtype: torch.dtype):
        super().__init__()
        self.heads, self.in_proj = attention.heads, attention.in_proj  # packed NaFlex takes these
        width = attention.in_proj.in_features
        weights, biases = (p.tensor_split([width]) for p in (attention.in_proj.weight, attention.in_proj.bias))
        self.q, self.kv = (PackedLinear(*part, dtype) for part in zip(weights, biases, strict=True))
        self.out_proj = PackedLinear(attention.out_proj.weight, attention.out_proj.bias, dtype)

    def forward(
        self, query: Float[Tensor, "batch q_len width"], memory: Float[Tensor, "batch kv_len width"]
    ) -> Float[Tensor, "batch q_len width"]:
        """As the original, without a mask."""
        parts = self.q(query), *self.kv(memory).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in parts)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _quantise(module: nn.Module) -> None:
    """Replace what can be int8 below `module`."""
    for name, child in module.named_children():
        match child:
            case nn.Linear():
                setattr(module, name, Int8Linear(child))
            case Mlp():
                setattr(module, name, Int8Mlp(child))
            case _:
                _quantise(child)


def _pack(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace what can be packed below `module`."""
    for name, child in module.named_children():
        match child:
            case nn.Linear():
                linear = PackedLinear(child.weight, child.bias, dtype)
                linear.weight, linear.bias = child.weight, child.bias  # transformers' towers look at their type
                setattr(module, name, linear)
            case SameConv() if dtype == torch.float32:
                setattr(module, name, PackedConv(child))
            case Mlp():
                setattr(module, name, PackedMlp(child, dtype))
            case MapPool():
                child.add_module("attention", PackedMemoryAttention(child.attention, dtype))
                _pack(child, dtype)
            case PackedMemoryAttention() | Int8Linear() | Int8Mlp():
                pass
            case QueryPool() | AttentionPool():  # take weights apart themselves; they are a hundredth of the work
                pass
            case _:
                _pack(child, dtype)
