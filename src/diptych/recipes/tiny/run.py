"""Run the recipe: world → views → three stages → the model folder, with its scores beside the weights.

Every part is kept in the run folder, so a killed run goes on where it stopped: `recipe.json`, `tokenizer.json`,
`teacher.npy`, `tokens.npy`, `views-*.npy`, a checkpoint per stage, `metrics.jsonl`, and at the end `model/`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diptych.core.config import from_dict, to_json
from diptych.core.errors import CheckpointError
from diptych.core.files import write_text
from diptych.core.types import Calibration, Embedder, EmbedderSpec, Picture
from diptych.data import pictograms
from diptych.evaluation.calibration import calibrate
from diptych.evaluation.pictograms import Embedded, Item, scores
from diptych.inputs.image import Preprocessing, decode
from diptych.models.checkpoints.efficientnet_lite0 import load_imagenet
from diptych.models.checkpoints.loading import load_embedder
from diptych.models.checkpoints.native import ModelCard, ModelConfig, read_card, read_config, save_model
from diptych.models.config import EfficientNetConfig, VitConfig
from diptych.models.efficientnet import EfficientNet
from diptych.models.embedder import TorchEmbedder
from diptych.models.layers import channels_last
from diptych.models.two_tower import TwoTower
from diptych.recipes.tiny import XM3600, TinyConfig
from diptych.recipes.tiny.card import render
from diptych.recipes.tiny.stages import Student, anchored_stage, locked_stage, unlocked_stage, until
from diptych.recipes.tiny.views import tuned_features, view_maps
from diptych.recipes.tiny.world import World, build
from diptych.training import loop

LICENCE = "Apache-2.0 (weights); the pictures keep their own licences, see NOTICE"


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Decoded pictures of the retrieval tests and the names that ask for them, before any model has seen them."""

    items: Sequence[Item]
    pictures: Sequence[Picture]
    names: Mapping[str, Mapping[str, str]]


def train(config: TinyConfig, folder: Path, stop_after: int | None = None) -> Path:
    """Train (or go on) in `folder` and return the model's folder. `stop_after` ends the run at that step of the first
    stage that has more, as a kill would."""
    _claim(folder, config)
    world = build(config, folder)
    torch.manual_seed(config.seed)
    towers = TwoTower(config.towers)
    channels_last(towers)  # before any optimizer: its moments have the layout that their weights have now
    student = Student(towers)
    weights = views = None
    if isinstance(towers.image, EfficientNet):
        weights = load_imagenet()
        towers.image.trunk.load_state_dict(weights.trunk.state_dict())
        views = view_maps(config, world, weights.trunk, folder)
    gallery = scored_gallery(config)

    def evaluate() -> Mapping[str, float]:
        return score(gallery, _embedder(config, world, towers), config)

    if weights is not None and views is not None:
        assert isinstance(towers.image, EfficientNet)
        if not loop.run(anchored_stage(config, world, student, weights, views), folder, None, stop_after):
            return folder / "model"
        student.start_text_tower(world)
        features = tuned_features(config, towers.image.trunk, views)
        if not loop.run(locked_stage(config, world, student, weights, views, features), folder, evaluate, stop_after):
            return folder / "model"
    if config.unlocked.steps:
        unlocked = unlocked_stage(config, world, student, weights, views)
        if not loop.run(unlocked, folder, evaluate, stop_after):
            return folder / "model"
    _export(config, world, towers, gallery, folder / "model")
    return folder / "model"


def _claim(folder: Path, config: TinyConfig) -> None:
    """The resolved recipe lies beside everything it makes. CheckpointError for another recipe's folder; one that
    differs only in stages not yet begun is the same run."""
    path = folder / "recipe.json"
    if path.exists():
        before = read_recipe(folder)
        begun = [stage for stage in ("anchored", "locked", "unlocked") if (folder / f"{stage}.pt").exists()]
        name = begun[-1] if begun else "anchored"
        if until(name, before) != until(name, config):
            raise CheckpointError(f"{folder} holds a run of another configuration (see {path}); choose another --to")
    write_text(path, to_json(config))


def preprocessing(config: TinyConfig) -> Preprocessing:
    """How the recipe's picture tower sees a picture: squashed to the square, bicubic."""
    match config.model.image:
        case EfficientNetConfig():
            mean, std = 127 / 255, 128 / 255
        case VitConfig():
            mean = std = 0.5
    return Preprocessing(size=config.image_size, policy="squash", interpolation="bicubic",
                         mean=(mean, mean, mean), std=(std, std, std))


def model_config(config: TinyConfig, world: World) -> ModelConfig:
    """What goes beside the weights."""
    trained = tuple(language for language in XM3600 if language in world.captions.languages)
    return ModelConfig(name=config.name, towers=config.towers, preprocessing=preprocessing(config),
                       tokenizer=world.tokenizer.policy, languages=trained, score_kind=config.loss, general=False)


def _export(config: TinyConfig, world: World, towers: TwoTower, gallery: Gallery, target: Path) -> None:
    """Write the weights, then score and calibrate what was written (half precision), as its users will run it."""
    described = model_config(config, world)
    card = ModelCard(licence=LICENCE, calibration=None, scores={}, data_sha256=world.data_sha256)
    save_model(target, towers, world.tokenizer, described, card)
    write_text(target / "recipe.json", to_json(config))
    finish_card(target, gallery)


def read_recipe(folder: Path) -> TinyConfig:
    """The recipe in `folder`, of a run or of the model that it made. CheckpointError if there is none of today."""
    try:
        return from_dict(TinyConfig, json.loads((folder / "recipe.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no recipe.json that this version can read: {error}") from error


def finish_card(folder: Path, gallery: Gallery) -> ModelCard:
    """Score and calibrate the model in `folder` and rewrite its card."""
    config, embedder, old = read_recipe(folder), load_embedder(folder), read_card(folder)
    card = ModelCard(licence=old.licence, data_sha256=old.data_sha256, scores=score(gallery, embedder, config),
                     calibration=calibration(embedder, config))
    write_text(folder / "card.json", to_json(card))
    write_text(folder / "README.md", render(config, read_config(folder), card))
    return card


def open_gallery(splits: Sequence[str], vendors: Sequence[str] | None = None) -> Gallery:
    """Pictures without a skin tone, flags left out, in these splits, with names in the languages of XM3600."""
    table = pictograms.pictures(vendors=vendors, splits=list(splits))
    rows = [r for r in table.to_pylist() if r["base"]]
    wanted = {r["hexcode"] for r in rows}
    names: dict[str, dict[str, str]] = {}
    for row in pictograms.names(languages=list(XM3600)).select(["hexcode", "language", "name"]).to_pylist():
        if row["hexcode"] in wanted:
            names.setdefault(row["language"], {})[row["hexcode"]] = row["name"]
    items = [Item(concept=r["hexcode"], vendor=r["vendor"], split=r["split"], pixel_hash=r["pixel_hash"]) for r in rows]
    return Gallery(items=items, pictures=[decode(r["picture"]) for r in rows], names=names)


def scored_gallery(config: TinyConfig) -> Gallery:
    """All that the three tests search: unseen concepts by every vendor, seen ones by the unseen vendors."""
    unseen = open_gallery(["test_zeroshot"])
    seen = open_gallery(["train"], vendors=list(config.held_out_vendors))
    names = {language: {**unseen.names.get(language, {}), **seen.names[language]} for language in seen.names}
    return Gallery(items=[*unseen.items, *seen.items], pictures=[*unseen.pictures, *seen.pictures], names=names)


def score(gallery: Gallery, embedder: Embedder, config: TinyConfig) -> dict[str, float]:
    """The figures of the model card."""
    embedded = Embedded(items=gallery.items, vectors=embedder.embed_images(gallery.pictures), names=gallery.names)
    return scores(embedded, embedder.embed_texts, config.held_out_vendors[0], config.held_out_languages)


def calibration(embedder: Embedder, config: TinyConfig) -> Calibration:
    """Fitted on names in the model's languages, half of them of validation concepts, which were never drawn in
    training, half of seen ones, against the pictures of both: a user asks for things of either kind. No picture of the
    tests takes part; pictures with the same pixels are one answer."""
    vendors = [vendor for vendor in pictograms.VENDORS if vendor not in config.held_out_vendors]
    gallery = open_gallery(["val", "train"], vendors)
    val, train = (sorted({i.concept for i in gallery.items if i.split == split}) for split in ("val", "train"))
    half = train[:: max(1, len(train) // max(1, len(val)))][: len(val)]
    concepts = {*val, *half}
    asked = [(concept, names[concept]) for language, names in sorted(gallery.names.items())
             if language in embedder.spec.languages for concept in sorted(concepts & names.keys())]
    hashes = np.array([item.pixel_hash for item in gallery.items])
    answers = {c: np.isin(hashes, [i.pixel_hash for i in gallery.items if i.concept == c]) for c in concepts}
    match = np.stack([answers[concept] for concept, _ in asked])
    return calibrate(embedder.embed_texts([name for _, name in asked]), embedder.embed_images(gallery.pictures), match)


def _embedder(config: TinyConfig, world: World, towers: TwoTower) -> TorchEmbedder:
    """The towers as they are now, behind the interface that scoring uses."""
    spec = EmbedderSpec(
        name=config.name, fingerprint="in training", dim=towers.dim, image_size=config.image_size, languages=XM3600,
        score_kind=config.loss, logit_scale=float(towers.logit_scale.detach()), logit_bias=0.0)
    return TorchEmbedder(towers, world.tokenizer, preprocessing(config), spec)
