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
    merged = shift if bias is None else shift + bias.double() * gain
    return (weight.double() * gain[:, None, None, None]).float(), merged.float()


def affine(published: Mapping[str, Tensor], norm: str, eps: float) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Gain and shift [channels] of the BatchNorm stored under `norm.`: gamma / √(var + eps), beta − mean · gain.

    In float64, but for var + eps, whose sum in float32 is what `idle` makes exact. CheckpointError as in `fold`.
    """
    parts: list[Tensor] = []
    for part in ("weight", "bias", "running_mean", "running_var"):
        if f"{norm}.{part}" not in published:
            raise CheckpointError(f"the weights lack {f'{norm}.{part}'!r}, a part of the BatchNorm {norm}")
        parts.append(published[f"{norm}.{part}"].double())
    gamma, beta, mean, var = parts
    gain = gamma / torch.sqrt((var.float() + eps).double())
    return gain, beta - mean * gain


def take_affine(rest: dict[str, Tensor], norm: str, width: int,
                eps: float) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]]:
    """As `affine`, of a BatchNorm whose tensors are taken out of `rest`, its counter too. CheckpointError names one
    that is missing or misshapen."""
    rest.pop(f"{norm}.{COUNTER}", None)
    parts = (f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))
    return affine({part: take(rest, part, (width,)) for part in parts}, norm, eps)


def take(rest: dict[str, Tensor], key: str, shape: tuple[int, ...]) -> Tensor:
    """That tensor in float64, taken out of `rest`. CheckpointError when it is missing or misshapen."""
    if key not in rest:
        raise CheckpointError(f"the weights lack {key!r}, which this architecture has")
    if tuple(rest[key].shape) != shape:
        raise CheckpointError(f"{key!r} has shape {list(rest[key].shape)}, expected {list(shape)}")
    return rest.pop(key).double()


def idle(norm: str, bias: Float[Tensor, " c"], eps: float) -> dict[str, Tensor]:
    """The five tensors of a BatchNorm that only adds `bias`; `affine` gives exactly 1 and `bias` for it."""
    one = torch.ones_like(bias, dtype=torch.float32)
    var = one - eps
    while not torch.equal(var + eps, one):  # one step of float32 at most
        var = torch.nextafter(var, one if bool((var + eps < one).all()) else torch.zeros_like(one))
    return {f"{norm}.weight": one, f"{norm}.bias": bias.float(), f"{norm}.running_mean": torch.zeros_like(one),
            f"{norm}.running_var": var, f"{norm}.{COUNTER}": torch.tensor(0)}
