"""ModifiedResNet as OpenAI and open_clip store it, under `visual.`: to our tower's tensors and back.

Reading goes through `merge`, which takes each BatchNorm into its convolution, and writing through `split`; between the
two, the keys of `names` are the published ones, but that convolutions have biases and norms are gone.
"""

from collections.abc import Mapping

from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps.batch_norm import COUNTER, fold, idle, take
from diptych.models.checkpoints.maps.keys import Names, Source, affine, one
from diptych.models.config import ResNetConfig

EPS = 1e-5
_NORM = ("weight", "bias", "running_mean", "running_var")


def names(config: ResNetConfig) -> Names:
    """Each tensor of our picture tower with its key in merged weights."""
    pool = "visual.attnpool"
    found: Names = {"image.pool.position": one(f"{pool}.positional_embedding"),
                    **affine("image.pool.out_proj", f"{pool}.c_proj")}
    for kind in ("weight", "bias"):
        found[f"image.pool.in_proj.{kind}"] = Source(tuple(f"{pool}.{x}_proj.{kind}" for x in "qkv"))
    for ours, (conv, _) in _convolutions(config).items():
        found |= affine(ours, conv)
    return found


def merge(published: Mapping[str, Tensor], config: ResNetConfig) -> dict[str, Tensor]:
    """The weights with each convolution and its BatchNorm as one convolution, in float32; other keys as they are.

    CheckpointError names a tensor that is missing, misshapen, or where the layout has none.
    """
    rest = dict(published)
    merged: dict[str, Tensor] = {}
    for conv, norm in _convolutions(config).values():
        weight, bias = f"{conv}.weight", f"{conv}.bias"
        if weight not in rest:
            raise CheckpointError(f"the weights lack {weight!r}, a convolution of this ModifiedResNet")
        if bias in rest:
            raise CheckpointError(f"the weights have {bias!r}: the convolutions of a ModifiedResNet have none")
        kernel = rest.pop(weight)
        if kernel.ndim != 4:
            raise CheckpointError(f"{weight!r} has shape {list(kernel.shape)}, expected that of a 2-d convolution")
        parts = {f"{norm}.{part}": take(rest, f"{norm}.{part}", (len(kernel),)) for part in _NORM}
        rest.pop(f"{norm}.{COUNTER}", None)
        merged[weight], merged[bias] = fold(kernel, None, parts, norm, EPS)
    return rest | merged


def split(merged: Mapping[str, Tensor], config: ResNetConfig) -> dict[str, Tensor]:
    """Merged weights as published: convolutions without bias, and after each a BatchNorm that only adds it.

    The inverse of `merge` for float32 weights, to the last bit.
    """
    published = dict(merged)
    for conv, norm in _convolutions(config).values():
        published |= idle(norm, published.pop(f"{conv}.bias"), EPS)
    return published


def _convolutions(config: ResNetConfig) -> dict[str, tuple[str, str]]:
    """Each convolution of ours with the published one and its BatchNorm."""
    found = {f"image.stem.{i}": (f"visual.conv{i + 1}", f"visual.bn{i + 1}") for i in range(3)}
    for stage, blocks in enumerate(config.layers):
        for block in range(blocks):
            ours, theirs = f"image.stages.{stage}.{block}", f"visual.layer{stage + 1}.{block}"
            found |= {f"{ours}.conv{i}": (f"{theirs}.conv{i}", f"{theirs}.bn{i}") for i in (1, 2, 3)}
            if block == 0:  # the first of a stage widens the map, always
                found[f"{ours}.shortcut"] = (f"{theirs}.downsample.0", f"{theirs}.downsample.1")
    return found
