"""What a two-tower model is made of, as frozen records. A checkpoint's config.json is one of these.

The fields span the published CLIP and SigLIP families (see the table in `docs/models.md`): cls, MAP or mean pooling,
with or without the pre-norm of CLIP, the three GELUs, causal or bidirectional text, and the four ways to pool it.
Nothing is sniffed from key names: what a checkpoint means is declared here.
"""

from dataclasses import dataclass
from typing import Literal

Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """A plain vision transformer (arXiv 2010.11929). `projection` is the embedding width, None keeps `width`.

    CLIP: pool="cls", pre_norm=True, patch_bias=False. SigLIP: pool="map", pre_norm=False, patch_bias=True.
    """

    kind: Literal["vit"] = "vit"
    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    pool: Literal["map", "cls", "mean"] = "map"
    activation: Activation = "gelu_tanh"
    pre_norm: bool = False
    patch_bias: bool = True
    projection: int | None = None
    norm_eps: float = 1e-6

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        if self.image_size < self.patch_size:
            raise ValueError(f"image_size {self.image_size} is smaller than patch_size {self.patch_size}")

    @property
    def grid(self) -> int:
        """Patches along a side; trailing pixels that fill no patch are dropped (SO400M-14-384: 27)."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class EfficientNetConfig:
    """EfficientNet-Lite0 (arXiv 1905.11946, without squeeze-and-excite, ReLU6) with an MLP head.

    `hidden` is the head's hidden width (None: a linear head), `projection` the embedding width.
    """

    kind: Literal["efficientnet_lite0"] = "efficientnet_lite0"
    image_size: int = 224
    hidden: int | None = 1024
    projection: int = 256
    dropout: float = 0.0

    @property
    def features(self) -> int:
        """Channels of the pooled features."""
        return 1280


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """A text transformer.

    `pool`: "last" takes the last position whatever stands there (SigLIP: pad to the full length, no mask); "argmax"
    the position of the highest id (CLIP, whose EOT is the last id); "eos" the first `eos_id`; "mean" the mean of the
    real tokens. `mask_padding` hides padding from attention, so that a text's vector is the same at every padded
    length; CLIP needs no mask because it is causal, SigLIP has none and therefore must be padded to `context_length`.
    """

    vocab_size: int
    context_length: int
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    activation: Activation = "gelu_tanh"
    causal: bool = False
    pool: Literal["last", "argmax", "eos", "mean"] = "last"
    mask_padding: bool = False
    pad_id: int = 0
    eos_id: int = 1
    projection: int | None = None
    projection_bias: bool = True
    norm_eps: float = 1e-6
    dropout: float = 0.0

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        if self.pool == "mean" and not self.mask_padding:
            raise ValueError("pool='mean' needs mask_padding=True: without it the mean depends on the padding")
        if self.causal and self.mask_padding:
            raise ValueError("a causal tower with right padding needs no padding mask; set mask_padding=False")


@dataclass(frozen=True, kw_only=True)
class TwoTowerConfig:
    """Both towers and the scale and bias that turn a cosine into a logit.

    `init_logit_scale` is the scale itself (10 for SigLIP, 1/0.07 for CLIP); the parameter stored is its logarithm.
    `init_logit_bias` None means the model has no bias (CLIP, softmax).
    """

    image: VitConfig | EfficientNetConfig
    text: TextConfig
    init_logit_scale: float = 10.0
    init_logit_bias: float | None = -10.0
