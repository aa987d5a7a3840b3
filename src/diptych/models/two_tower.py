"""Both towers on one hinge: a shared embedding space, a scale and a bias."""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from diptych.models.config import (
    EfficientNetConfig,
    EvaConfig,
    FastVitConfig,
    NaflexConfig,
    ResNetConfig,
    TextConfig,
    TransformersTextConfig,
    TwoTowerConfig,
    VitConfig,
)
from diptych.models.efficientnet import EfficientNet
from diptych.models.eva import Eva
from diptych.models.fastvit import FastVit
from diptych.models.naflex import NaflexVit, PackedPatches
from diptych.models.resnet import ResNet
from diptych.models.text import TextTransformer
from diptych.models.transformers_text import TransformersText
from diptych.models.vit import Vit

ImageTower: TypeAlias = Vit | NaflexVit | Eva | ResNet | FastVit | EfficientNet


class TwoTower(nn.Module):
    """`encode_image` and `encode_text` give unit-norm embeddings in one space; `logit_scale` is already exponentiated.

    The stored parameter is `log_scale` (t' of SigLIP). `logit_bias` is None for models trained with softmax.
    """

    def __init__(self, config: TwoTowerConfig):
        super().__init__()
        self.config = config
        match config.image:
            case VitConfig():
                self.image = Vit(config.image)
            case EfficientNetConfig():
                self.image = EfficientNet(config.image)
            case ResNetConfig():
                self.image = ResNet(config.image)
            case EvaConfig():
                self.image = Eva(config.image)
            case FastVitConfig():
                self.image = FastVit(config.image)
            case NaflexConfig():
                self.image = NaflexVit(config.image)
        match config.text:
            case TextConfig():
                self.text = TextTransformer(config.text)
            case TransformersTextConfig():
                self.text = TransformersText(config.text)
        if self.image.dim != self.text.dim:
            raise ValueError(f"the towers must meet in one width: image {self.image.dim}, text {self.text.dim}")
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.init_logit_scale)))
        bias = config.init_logit_bias
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.text.dim

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """exp(t')."""
        return self.log_scale.exp()

    def encode_image(
        self, pixels: Float[Tensor, "batch 3 height width"] | PackedPatches
    ) -> Float[Tensor, "batch embed"]:
        """Normalised pixels, or packed patches for a native-aspect tower, to unit-norm embeddings."""
        return F.normalize(self.image(pixels), dim=-1)

    def encode_text(self, ids: Int[Tensor, "batch len"]) -> Float[Tensor, "batch embed"]:
        """Right-padded token ids to unit-norm embeddings."""
        return F.normalize(self.text(ids), dim=-1)


def count_parameters(module: nn.Module, keep: Callable[[nn.Parameter], bool] = lambda _: True) -> int:
    """Number of scalars in the parameters for which `keep` is true."""
    return sum(p.numel() for p in module.parameters() if keep(p))
