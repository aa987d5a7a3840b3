"""The three stages of the recipe as `training.loop.Stage`s: what a batch holds, and what is minimised.

Every batch is a function of (seed, stage, step). Rows of a batch: pictures first, then ImageNet classifier rows.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.core.config import to_json
from diptych.core.files import sha256_bytes
from diptych.data.augment import augment
from diptych.data.captions import Caption
from diptych.data.drawings import BatchSampler
from diptych.losses.distillation import cosine_loss
from diptych.losses.sigmoid import sigmoid_loss
from diptych.losses.softmax import softmax_loss
from diptych.models.checkpoints.efficientnet_lite0 import ImageNetWeights
from diptych.models.efficientnet import EfficientNet
from diptych.models.layers import Block, channels_last
from diptych.models.text import encode_by_length
from diptych.models.two_tower import TwoTower
from diptych.models.vit import Vit
from diptych.recipes.tiny import TinyConfig
from diptych.recipes.tiny.world import TEACHER_DIM, World
from diptych.training.config import StageConfig
from diptych.training.features import extract, to_input
from diptych.training.loop import Losses, Stage, hash_seed
from diptych.training.optimizer import adamw


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """`pictures` are uint8 pixels [b, s, s, 3] or features [b, 1280]; `classes` pseudo-features [c, 1280]; `ids` the
    captions of both [b + c, length]; `positive` which caption is true of which row; `said_ids`
    are texts without a picture; `teacher` a target per caption, then per text without a picture (zero: none)."""

    pictures: Tensor
    classes: Tensor
    ids: Tensor
    positive: Tensor
    said_ids: Tensor
    teacher: Tensor


class Student(nn.Module):
    """The two towers, and the linear map from the text teacher's space to theirs, which only training needs."""

    def __init__(self, towers: TwoTower):
        super().__init__()
        self.towers, self.anchor = towers, nn.Linear(TEACHER_DIM, towers.dim, bias=False)

    @torch.no_grad()
    def start_text_tower(self, world: World) -> None:
        """Begin the text tower as the mean of its tokens' mapped teacher vectors: blocks that add nothing yet, and
        an identity projection. Whole words are most of the vocabulary, so this is already half a translation."""
        text = self.towers.text
        known = torch.from_numpy(world.token_vectors.astype(np.float32))
        mapped = F.normalize(self.anchor(known), dim=-1)
        has = known.any(dim=1)
        text.token_embed.weight[has] = mapped[has]
        for block in text.blocks:
            assert isinstance(block, Block)
            for layer in (block.attention.out_proj, block.mlp.fc2):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        if isinstance(text.projection, nn.Linear) and text.config.width == text.dim:
            nn.init.eye_(text.projection.weight)
            nn.init.zeros_(text.projection.bias)


class Batches:
    """Builds batches for a stage; `picture(index, rng)` gives what the picture tower starts from."""

    def __init__(
        self, config: TinyConfig, stage: str, size: int, world: World,
        picture: Callable[[int, np.random.Generator], np.ndarray], weights: ImageNetWeights | None,
        features: np.ndarray | None,
    ):
        self.config, self.stage, self.size, self.world, self.picture = config, stage, size, world, picture
        self.sampler = BatchSampler(world.drawings)
        self.classifier = None if weights is None else weights.classifier.numpy()
        self.features = features

    def __call__(self, step: int) -> Batch:
        """The batch of that step."""
        config, world = self.config, self.world
        rng = np.random.default_rng([config.seed, hash_seed(self.stage), step])
        chosen = self.sampler.draw(self.size, rng)
        pictures = np.stack([self.picture(int(i), rng) for i in chosen])
        drawn = rng.choice(1000, size=config.classes if self.classifier is not None else 0, replace=False)
        rows = np.concatenate([world.drawings.concept[chosen], world.class_rows[drawn]])
        captions = world.captions.draw(rows, rng, config.mix)
        nouns = rng.integers(0, len(world.noun_texts), config.nouns)
        names = rng.choice(world.name_ids, config.names)
        texts = world.captions.texts
        said = [world.noun_texts[i] for i in nouns] + [texts[i] for i in names]
        return Batch(
            pictures=torch.from_numpy(pictures), classes=torch.from_numpy(self._pseudo(drawn, rng)),
            ids=torch.from_numpy(world.tokenizer.encode([c.text for c in captions])),
            positive=torch.from_numpy(world.captions.positives(rows, captions, rows)),
            said_ids=torch.from_numpy(world.tokenizer.encode(said)),
            teacher=torch.from_numpy(self._targets(captions, [*(nouns + len(texts)), *names])),
        )

    def _pseudo(self, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A feature vector that the classifier takes for each class: the class row added to a faded drawing's
        features. ReLU6 features are never negative."""
        if self.classifier is None or self.features is None:
            return np.zeros((0, 1), np.float32)
        ground = self.features[np.sort(rng.integers(0, len(self.features), len(classes)))].astype(np.float32)
        fade, push = rng.uniform(0.2, 0.9, (len(classes), 1)), rng.uniform(3.0, 8.0, (len(classes), 1))
        return np.maximum(ground * fade + self.classifier[classes] * push, 0).astype(np.float32)

    def _targets(self, captions: list[Caption], said: list[int]) -> np.ndarray:
        rows = [caption.text_id for caption in captions] + said
        out = np.zeros((len(rows), TEACHER_DIM), np.float32)
        for i, row in enumerate(rows):
            if row is not None:
                out[i] = self.world.teacher[row]
        return out


def losses_of(
    config: TinyConfig, student: Student, encode: Callable[[Tensor], tuple[Tensor, Tensor]], *, anchored: bool = False
) -> Callable[[Batch], Losses]:
    """The weighted sum of a stage. `encode(pictures)` gives unnormalised embeddings and a distillation term.

    `anchored`: the captions' mapped teacher vectors stand in for the text tower, and captions without one are left out.
    """
    towers = student.towers
    pad = towers.config.text.pad_id

    def text_of(ids: Tensor) -> Tensor:
        return encode_by_length(towers.encode_text, ids, pad, buckets=3).float()

    def image_of(batch: Batch) -> tuple[Tensor, Tensor]:
        embedded, kept = encode(batch.pictures)
        if len(batch.classes):
            assert isinstance(towers.image, EfficientNet)
            embedded = torch.cat([embedded, towers.image.head(batch.classes)])
        return F.normalize(embedded.float(), dim=-1), kept

    def on_anchors(batch: Batch) -> Losses:
        image, _ = image_of(batch)
        taught = batch.teacher[: len(batch.ids)]
        has = taught.any(dim=1)
        text = F.normalize(student.anchor(taught[has]), dim=-1)
        contrastive = _contrastive(config, towers, image, text, batch.positive[:, has])
        return {"loss": contrastive, "logit_scale": towers.logit_scale.detach()}

    def on_texts(batch: Batch) -> Losses:
        image, kept = image_of(batch)
        text = text_of(batch.ids)
        has = batch.teacher.any(dim=1)
        said = torch.cat([text, text_of(batch.said_ids)])[has]
        with torch.autocast("cpu", enabled=False):  # a bias of −10 leaves bfloat16 logits too coarse to learn from
            contrastive = _contrastive(config, towers, image, text, batch.positive)
            text_teacher = cosine_loss(said, student.anchor(batch.teacher[has]).detach())
        total = contrastive + config.text_teacher * text_teacher + config.feature_teacher * kept
        return {"loss": total, "contrastive": contrastive, "text_teacher": text_teacher, "feature_teacher": kept,
                "logit_scale": towers.logit_scale.detach()}

    return on_anchors if anchored else on_texts


def _contrastive(config: TinyConfig, towers: TwoTower, image: Tensor, text: Tensor, positive: Tensor) -> Tensor:
    match config.loss:
        case "sigmoid":
            assert towers.logit_bias is not None
            return sigmoid_loss(image, text, towers.logit_scale, towers.logit_bias, positive)
        case "softmax":
            return softmax_loss(image, text, towers.logit_scale, positive)


def feature_stage(name: Literal["anchored", "locked"], config: TinyConfig, world: World, student: Student,
                  weights: ImageNetWeights, features: np.ndarray) -> Stage[Batch]:
    """A stage on the frozen trunk's features [views × pictures, 1280]: "anchored" trains the picture head and the map
    from the teacher, "locked" the head and the text tower."""
    tower, count = student.towers.image, len(world.drawings)
    assert isinstance(tower, EfficientNet)
    stage = config.anchored if name == "anchored" else config.locked

    def view(index: int, rng: np.random.Generator) -> np.ndarray:
        return features[int(rng.integers(config.views)) * count + index].astype(np.float32)

    def encode(pictures: Tensor) -> tuple[Tensor, Tensor]:
        return tower.head(pictures), pictures.new_zeros(())

    tower.trunk.requires_grad_(False)
    student.towers.text.requires_grad_(name == "locked")
    student.anchor.requires_grad_(name == "anchored")
    return _stage(name, config, stage, student, losses_of(config, student, encode, anchored=name == "anchored"),
                  Batches(config, name, stage.batch, world, view, weights, features))


def unlocked_stage(config: TinyConfig, world: World, student: Student, weights: ImageNetWeights | None,
                   features: np.ndarray | None) -> Stage[Batch]:
    """Both towers learn from pixels; a pretrained trunk slowly, and held to its old features."""
    tower = student.towers.image

    def picture(index: int, rng: np.random.Generator) -> np.ndarray:
        drawings = world.drawings
        return augment(drawings.cutout(index), rng, config.image_size, config.augmentation, bool(drawings.flip[index]))

    match tower:
        case EfficientNet():
            assert weights is not None
            encode = _held(tower, weights.trunk)
        case Vit():
            encode = _free(tower)
    return _stage("unlocked", config, config.unlocked, student, losses_of(config, student, encode),
                  Batches(config, "unlocked", config.unlocked.batch, world, picture, weights, features))


def _held(tower: EfficientNet, original: nn.Module) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    locked = channels_last(copy.deepcopy(original).eval().requires_grad_(False))
    channels_last(tower.trunk.requires_grad_(True))

    def encode(pictures: Tensor) -> tuple[Tensor, Tensor]:
        pixels = to_input(pictures.numpy(), 127, 128)
        features = tower.trunk(pixels)
        with torch.no_grad():
            before = locked(pixels)
        return tower.head(features), cosine_loss(features.float(), before.float())

    return encode


def _free(tower: Vit) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def encode(pictures: Tensor) -> tuple[Tensor, Tensor]:
        embedded = tower(to_input(pictures.numpy(), 127.5, 127.5))
        return embedded, embedded.new_zeros((), dtype=torch.float32)

    return encode


def _stage(name: str, config: TinyConfig, stage: StageConfig, student: Student,
           losses: Callable[[Batch], Losses], batches: Batches) -> Stage[Batch]:
    slow = "towers.image.trunk."
    optimizer = adamw(student, stage.optimizer, pretrained=lambda n: n.startswith(slow))
    return Stage(
        name=name, config=stage, model=student, optimizer=optimizer, batch=batches,
        losses=losses, seed=config.seed,
        identity=sha256_bytes((to_json(until(name, config)) + batches.world.data_sha256).encode()),
    )


def until(name: str, config: TinyConfig) -> TinyConfig:
    """The configuration without the stages after `name`: what they will do decides nothing yet, so that they can be
    changed when the earlier ones are done."""
    order = ("anchored", "locked", "unlocked")
    later = order[order.index(name) + 1 :]
    return replace(config, **dict.fromkeys(later, StageConfig(steps=0, batch=2)))


def view_features(config: TinyConfig, world: World, trunk: nn.Module, folder: Path) -> np.ndarray:
    """The trunk's features of every augmented view, [views × pictures, 1280], kept in `folder`."""
    drawings, count = world.drawings, len(world.drawings)
    key = sha256_bytes((to_json(config.augmentation) + f"{config.image_size} {config.seed} {count} {config.views}"
                        + world.data_sha256).encode())[:12]

    def pixels(i: int) -> np.ndarray:
        view, index = divmod(i, count)
        rng = np.random.default_rng([config.seed, hash_seed("views"), view, index])
        return augment(drawings.cutout(index), rng, config.image_size, config.augmentation, bool(drawings.flip[index]))

    return extract(trunk, pixels, config.views * count, 1280, folder / f"features-{key}.npy", title="locked features")
