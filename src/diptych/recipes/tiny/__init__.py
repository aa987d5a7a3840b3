"""The bundled model, `diptych-tiny`: a locked, then gently unlocked ImageNet tower and a multilingual text tower.

Two stages. *locked* (SigLiT, arXiv 2303.15343 §4.2): EfficientNet-Lite0 is frozen, its features of augmented views are
computed once, and the picture head and the text tower learn together. *unlocked*: the tower follows at a tenth of the
rate, held to its old features by distillation, so that photographs are not forgotten.

Beside the pictures, two things teach without a single photograph: the ImageNet classifier's rows, each a feature
vector for its label; and a small multilingual sentence encoder, whose vectors the text tower learns to predict, so that
words never drawn still land near their relatives.
"""

from dataclasses import dataclass, field
from typing import Literal

from diptych.data.augment import Augmentation
from diptych.data.captions import CaptionMix
from diptych.models.config import EfficientNetConfig, TextConfig, TwoTowerConfig, VitConfig
from diptych.training.config import OptimizerConfig, StageConfig

XM3600 = ("ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu", "id", "it",
          "ja", "ko", "mi", "nl", "no", "pl", "pt", "qu", "ro", "ru", "sv", "sw", "te", "th", "tr", "uk", "vi", "zh")


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """Everything that decides what the bundled model becomes. Weights of losses multiply their means.

    `classes` and `nouns` are rows per step: ImageNet classifier rows with their labels, and English nouns or
    definitions for the text teacher. `views` augmented views of each picture are computed for the locked stage.
    """

    seed: int = 0
    name: str = "diptych-tiny"
    image_size: int = 160
    model: TwoTowerConfig
    vocab_size: int = 16_000
    alphabet: int = 4_000
    held_out_languages: tuple[str, ...] = ("sw", "te", "qu", "mi")
    held_out_vendors: tuple[str, ...] = ("openmoji",)
    views: int = 6
    loss: Literal["sigmoid", "softmax"] = "sigmoid"
    classes: int = 96
    nouns: int = 96
    text_teacher: float = 1.0
    feature_teacher: float = 4.0
    mix: CaptionMix = field(default_factory=CaptionMix)
    augmentation: Augmentation = field(default_factory=Augmentation)
    locked: StageConfig
    unlocked: StageConfig

    def __post_init__(self):
        if isinstance(self.model.image, VitConfig) and self.locked.steps:
            raise ValueError("a ViT starts from scratch and has nothing to lock: set locked.steps=0")
        if self.model.image.image_size != self.image_size:
            raise ValueError(f"image_size {self.image_size} and model.image.image_size must agree")


def text_tower(layers: int = 3, width: int = 256) -> TextConfig:
    """Bidirectional, padding masked, mean-pooled: short names need no more."""
    return TextConfig(vocab_size=16_000, context_length=32, width=width, layers=layers, heads=width // 64,
                      mlp_width=4 * width, pool="mean", mask_padding=True, projection=256)


def tiny() -> TinyConfig:
    """The recipe of the committed weights."""
    return TinyConfig(
        model=TwoTowerConfig(image=EfficientNetConfig(image_size=160, dropout=0.1), text=text_tower()),
        locked=StageConfig(steps=1_200, batch=512, evaluate_every=600,
                           optimizer=OptimizerConfig(lr=1.5e-3, weight_decay=0.05, warmup_steps=100)),
        unlocked=StageConfig(steps=200, batch=256, checkpoint_every=20, evaluate_every=100, log_every=10,
                             optimizer=OptimizerConfig(lr=1e-3, weight_decay=0.05, warmup_steps=20)),
    )


def tiny_scratch() -> TinyConfig:
    """Both towers from scratch: the comparison that the model card quotes."""
    vit = VitConfig(image_size=96, patch_size=8, width=192, layers=6, heads=3, mlp_width=768, pool="map",
                    projection=256)
    return TinyConfig(
        name="diptych-tiny-scratch", image_size=96, model=TwoTowerConfig(image=vit, text=text_tower()),
        classes=0, feature_teacher=0.0,
        locked=StageConfig(steps=0, batch=512),
        unlocked=StageConfig(steps=1_000, batch=256, optimizer=OptimizerConfig(lr=1e-3, weight_decay=0.05)),
    )


RECIPES = {"tiny": tiny, "tiny_scratch": tiny_scratch}
