"""BatchNorms of published convolutional towers: merged into the convolution before them on reading, and written as
norms that do nothing.

In evaluation a BatchNorm is an affine map per channel, which the convolution absorbs; our towers have none. Written,
a norm has gain 1, mean 0, our bias, and the variance that makes the square root exactly 1, so that the original library
opens the file and reading it again gives the same bits.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from diptych.core.errors import CheckpointError

COUNTER = "num_batches_tracked"


def fold(
    weight: Float[Tensor, "out in h w"], bias: Float[Tensor, " out"] | None, published: Mapping[str, Tensor], norm: str,
    eps: float,
) -> tuple[Float[Tensor, "out in h w"], Float[Tensor, " out"]]:
    """The convolution (weight, bias) followed by the BatchNorm stored under `norm.`, as one convolution, in float32.

    CheckpointError names a missing tensor of the norm.
    """
    gain, shift = affine(published, norm, eps)
    merged = shift if bias is None else shift + bias.float() * gain
    return weight.float() * gain[:, None, None, None], merged


def affine(published: Mapping[str, Tensor], norm: str, eps: float) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Gain and shift [channels] of the BatchNorm stored under `norm.`: gamma / √(var + eps), beta − mean · gain."""
    parts: list[Tensor] = []
    for part in ("weight", "bias", "running_mean", "running_var"):
        if f"{norm}.{part}" not in published:
            raise CheckpointError(f"the weights lack {f'{norm}.{part}'!r}, a part of the BatchNorm {norm}")
        parts.append(published[f"{norm}.{part}"].float())
    gamma, beta, mean, var = parts
    gain = gamma / torch.sqrt(var + eps)
    return gain, beta - mean * gain


def idle(norm: str, bias: Float[Tensor, " c"], eps: float) -> dict[str, Tensor]:
    """The five tensors of a BatchNorm that only adds `bias`; `affine` gives exactly 1 and `bias` for it."""
    one = torch.ones_like(bias, dtype=torch.float32)
    var = one - eps
    while not torch.equal(var + eps, one):  # one step of float32 at most
        var = torch.nextafter(var, one if bool((var + eps < one).all()) else torch.zeros_like(one))
    return {f"{norm}.weight": one, f"{norm}.bias": bias.float(), f"{norm}.running_mean": torch.zeros_like(one),
            f"{norm}.running_var": var, f"{norm}.{COUNTER}": torch.tensor(0)}
