"""What a two-tower model is made of, as frozen records. A checkpoint's config.json is one of these.

The fields span the published CLIP and SigLIP families (see the table in `docs/models.md`): plain, rotary, convolutional
and native-aspect picture towers; causal and bidirectional text, and the ways to pool it. Nothing is sniffed from key
names: what a checkpoint means is declared here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """A plain vision transformer (arXiv 2010.11929). `projection` is the embedding width, None keeps `width`.

    CLIP: pool="cls", pre_norm=True, patch_bias=False. SigLIP: pool="map", pre_norm=False, patch_bias=True.
    CLIPA: pool="mean", cls_token=True (which the mean leaves out), norm_after_pool=True, no pre-norm. CoCa:
    pool="query", `queries` learned queries of `query_heads` heads attend to all tokens, the first one is the picture.
    `cls_token` None: there is one when `pool` needs it. `stem` "conv" is MobileCLIP-B's, three convolutions.
    """

    kind: Literal["vit"] = "vit"
    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    pool: Literal["map", "cls", "mean", "query"] = "map"
    activation: Activation = "gelu_tanh"
    pre_norm: bool = False
    patch_bias: bool = True
    projection: int | None = None
    norm_eps: float = 1e-6
    projection_bias: bool = False
    cls_token: bool | None = None
    norm_after_pool: bool = False
    stem: Literal["patch", "conv"] = "patch"
    queries: int = 256
    query_heads: int = 8

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        if self.image_size < self.patch_size:
            raise ValueError(f"image_size {self.image_size} is smaller than patch_size {self.patch_size}")
        if self.pool == "cls" and not self.has_cls:
            raise ValueError("pool='cls' needs a class token; leave cls_token at None")
        if self.norm_after_pool and self.pool != "mean":
            raise ValueError(f"norm_after_pool is about pool='mean', got pool={self.pool!r}")
        if self.stem == "conv" and self.patch_size != 16:
            raise ValueError(f"the convolutions of stem='conv' make patches of 16 pixels, got {self.patch_size}")
        if self.pool == "query" and (self.projection or self.width) % self.query_heads:
            raise ValueError(f"the pooled width must be a multiple of query_heads, got "
                             f"{self.projection or self.width} and {self.query_heads}")

    @property
    def grid(self) -> int:
        """Patches along a side; trailing pixels that fill no patch are dropped (SO400M-14-384: 27)."""
        return self.image_size // self.patch_size

    @property
    def has_cls(self) -> bool:
        """Whether the sequence begins with a class token."""
        return self.pool in ("cls", "query") if self.cls_token is None else self.cls_token

    @property
    def position_prefix(self) -> int:
        """Rows of positions before those of the patches: the class token has one, but for MobileCLIP-B's."""
        return int(self.has_cls and self.stem == "patch")


@dataclass(frozen=True, kw_only=True)
class NaflexConfig:
    """SigLIP 2's native-aspect ViT (arXiv 2502.14786 §2.4.2): a sequence of patches of any grid, at most
    `max_patches` of them by default, and a learned `grid` × `grid` of positions resized to each picture's."""

    kind: Literal["naflex"] = "naflex"
    patch_size: int = 16
    grid: int = 16
    max_patches: int = 256
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    activation: Activation = "gelu_tanh"
    norm_eps: float = 1e-6

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")

    @property
    def image_size(self) -> int:
        """The side of the square picture that fills the budget."""
        return self.patch_size * int(self.max_patches**0.5)


@dataclass(frozen=True, kw_only=True)
class EvaConfig:
    """EVA-CLIP's ViTs (arXiv 2303.15389) and Perception Encoder's (arXiv 2504.13181), as timm's `Eva` has them.

    EVA02-B/L: rotary positions, SwiGLU and norms inside attention and MLP (`rope`, `swiglu`, `inner_norm`), keys
    without bias. EVA01-g: none of these. EVA02-E: `post_norm`. PE-Core: rotary positions of another convention,
    `pre_norm` (and then no bias in the patches), keys with bias, MAP pooling with `pool_heads` heads and an MLP of
    four times the width. `rope_grid` is the grid of the pretraining resolution, to which positions are scaled;
    `rope_offset` is added to each, and `rope_order` says which coordinate turns a head's first channels: "ij" the row,
    "xy" the column. The projection has a bias in all of them.
    """

    kind: Literal["eva"] = "eva"
    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 2048
    pool: Literal["cls", "map"] = "cls"
    cls_token: bool = True
    activation: Activation = "gelu"
    rope: bool = True
    rope_grid: int = 16
    rope_offset: float = 0.0
    rope_order: Literal["ij", "xy"] = "ij"
    swiglu: bool = True
    inner_norm: bool = True
    post_norm: bool = False
    pre_norm: bool = False
    key_bias: bool = False
    pool_heads: int = 8
    projection: int = 512
    norm_eps: float = 1e-6

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        if self.pool == "cls" and not self.cls_token:
            raise ValueError("pool='cls' needs cls_token=True")
        if self.image_size < self.patch_size:
            raise ValueError(f"image_size {self.image_size} is smaller than patch_size {self.patch_size}")
        if self.rope and self.width // self.heads % 4:
            raise ValueError("rotary positions turn pairs of channels on two axes: a head's width must be a multiple "
                             f"of 4, got {self.width // self.heads}")
        if self.pool == "map" and self.width % self.pool_heads:
            raise ValueError(f"width must be a multiple of pool_heads, got {self.width} and {self.pool_heads}")

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """CLIP's ModifiedResNet (arXiv 2103.00020 §2.4): three stem convolutions, average pools before strided ones, and
    attention pooling. Feature maps have 32 · `width` channels at 1/32 of the size; BatchNorms are merged."""

    kind: Literal["resnet"] = "resnet"
    image_size: int = 224
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    heads: int = 32
    projection: int = 1024

    def __post_init__(self):
        if self.image_size < 32 or self.width % 2 or 32 * self.width % self.heads:
            raise ValueError(f"image_size must be at least 32, width even and 32 · width a multiple of heads, got "
                             f"{self.image_size}, {self.width} and {self.heads}")

    @property
    def grid(self) -> int:
        """Cells along a side of the last feature map."""
        return self.image_size // 32


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
class FastVitConfig:
    """FastViT (arXiv 2303.14189) as MobileCLIP has it (MCi: 2311.17049, 2508.20691), its train-time branches merged.

    The stem quarters a picture's sides, and each stage but the first halves those of its maps. The last
    `attention_stages` mix tokens by attention in heads of 32, after a positional convolution, the others by RepMixer's
    convolution; `attention_norm` "affine" is a merged BatchNorm. The downsamplers of the last `gated_stages` have
    squeeze-and-excite. `stem_scale` is about files only: whether the stem was trained with 1×1 branches.
    """

    kind: Literal["fastvit"] = "fastvit"
    image_size: int = 256
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (2, 6, 10, 2)
    mlp_ratio: int = 3
    attention_stages: int = 1
    attention_norm: Literal["affine", "layer"] = "affine"
    gated_stages: int = 2
    stem_scale: bool = True
    projection: int = 512

    def __post_init__(self):
        stages = len(self.widths)
        if stages != len(self.depths):
            raise ValueError(f"widths and depths are one for each stage, got {stages} and {len(self.depths)}")
        if not 0 <= self.attention_stages <= stages or not 0 <= self.gated_stages < stages:
            raise ValueError(f"of {stages} stages at most all can have attention, and all but the first a gate; got "
                             f"attention_stages={self.attention_stages} and gated_stages={self.gated_stages}")
        if any(width % 32 for width in self.widths[stages - self.attention_stages :]):
            raise ValueError(f"the width of a stage with attention must be a multiple of 32, got {self.widths}")
        if any(width % before for before, width in zip(self.widths, self.widths[1:], strict=False)):
            raise ValueError(f"each of the widths must be a multiple of the one before it, got {self.widths}")

    @property
    def grid(self) -> int:
        """Cells along a side of the last feature map; a side that is odd is halved upwards."""
        return -(-self.image_size // 2 ** (len(self.widths) + 1))

    def attends(self, stage: int) -> bool:
        """Whether the tokens of that stage are mixed by attention."""
        return stage >= len(self.widths) - self.attention_stages

    def gated(self, stage: int) -> bool:
        """Whether the downsampler of that stage has squeeze-and-excite."""
        return stage >= len(self.widths) - self.gated_stages


def mci(size: Literal[0, 1, 2, 3, 4], projection: int) -> FastVitConfig:
    """MobileCLIP's picture towers by timm's names, fastvit_mci0 to fastvit_mci4, at 256 pixels."""
    match size:
        case 0:
            return FastVitConfig(projection=projection)
        case 1:
            return FastVitConfig(depths=(4, 12, 20, 4), projection=projection)
        case 2:
            return FastVitConfig(widths=(80, 160, 320, 640), depths=(4, 12, 24, 4), projection=projection)
        case 3:
            widths, depths = (96, 192, 384, 768, 1536), (2, 12, 24, 4, 2)
        case 4:
            widths, depths = (128, 256, 512, 1024, 2048), (2, 12, 24, 4, 4)
    return FastVitConfig(
        widths=widths, depths=depths, mlp_ratio=4, attention_stages=2, attention_norm="layer", gated_stages=0,
        stem_scale=False, projection=projection)


ImageConfig = VitConfig | NaflexConfig | EvaConfig | ResNetConfig | FastVitConfig | EfficientNetConfig


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """A text transformer.

    `pool`: "last" takes the last position whatever stands there (SigLIP: pad to the full length, no mask); "argmax"
    the position of the highest id (CLIP, whose EOT is the last id); "eos" the first `eos_id`; "mean" the mean of the
    real tokens; "cls" a learned token after the last position (CoCa). `mask_padding` hides padding from attention, so
    that a text's vector is the same at every padded length; CLIP needs no mask because it is causal, SigLIP has none
    and therefore must be padded to `context_length`.
    """

    vocab_size: int
    context_length: int
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    activation: Activation = "gelu_tanh"
    causal: bool = False
    pool: Literal["last", "argmax", "eos", "mean", "cls"] = "last"
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
        if self.pool == "cls" and not self.causal:
            raise ValueError("pool='cls' is CoCa's, whose text is causal; set causal=True")

    @property
    def sees_padding(self) -> bool:
        """Whether a text's vector depends on how far it is padded, so that it must be to `context_length`."""
        return self.pool in ("last", "cls") or not (self.causal or self.mask_padding)


@dataclass(frozen=True, kw_only=True)
class TransformersTextConfig:
    """A text tower that is another project's model, run by `transformers` (the optional extra of that name): XLM-R,
    RoBERTa, mT5's encoder, NLLB's encoder, as open_clip's `HFTextEncoder` uses them.

    `settings` is what the model's config.json says of its sizes, but for those that have a field here. `pool`: "mean"
    of the real tokens, or "cls", the first token's state. `projection` None keeps `width`; `projection_hidden` None is
    a linear projection, else an MLP with GELU; neither has a bias.
    """

    kind: Literal["transformers"] = "transformers"
    model_type: Literal["xlm-roberta", "roberta", "mt5", "m2m_100"]
    vocab_size: int
    context_length: int = 77
    width: int = 768
    pad_id: int = 1
    eos_id: int = 2
    pool: Literal["mean", "cls"] = "mean"
    projection: int | None = 512
    projection_hidden: int | None = None
    settings: Mapping[str, int | float | str | bool] = field(default_factory=dict[str, int | float | str | bool])

    @property
    def sees_padding(self) -> bool:
        """Whether a text's vector depends on how far it is padded: never, all of them mask it."""
        return False


@dataclass(frozen=True, kw_only=True)
class TwoTowerConfig:
    """Both towers and the scale and bias that turn a cosine into a logit.

    `init_logit_scale` is the scale itself (10 for SigLIP, 1/0.07 for CLIP); the parameter stored is its logarithm.
    `init_logit_bias` None means the model has no bias (CLIP, softmax).
    """

    image: ImageConfig
    text: TextConfig | TransformersTextConfig
    init_logit_scale: float = 10.0
    init_logit_bias: float | None = -10.0
