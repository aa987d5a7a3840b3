"""The recipe end to end on a sliver of the corpus: it resumes exactly, and the model it writes can be used."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from diptych.core.config import override
from diptych.core.errors import CheckpointError
from diptych.data import nouns, pictograms
from diptych.models.checkpoints.loading import load_embedder as load_model
from diptych.models.checkpoints.native import read_card
from diptych.models.config import EfficientNetConfig, VitConfig
from diptych.recipes.tiny import TinyConfig, text_tower, tiny, tiny_scratch
from diptych.recipes.tiny import run as recipe
from diptych.training.log import MetricLog

pytestmark = pytest.mark.slow
VENDORS = ["noto", "twemoji", "openmoji"]


@pytest.fixture
def sliver(monkeypatch):
    """Every 20th base pictogram by three vendors, three languages, the classifier's nouns only."""
    pictures, names, words = pictograms.pictures(vendors=VENDORS), pictograms.names(["en", "es", "sw"]), nouns.read()
    kept = sorted(set(pictures.filter(pictures["base"])["hexcode"].to_pylist()))[::20]
    few = pictures.filter(pc.and_(pictures["base"], pc.is_in(pictures["hexcode"], pa.array(kept))))

    def fewer(vendors=None, splits=None, columns=None):
        table = few if vendors is None else few.filter(pc.is_in(few["vendor"], pa.array(list(vendors))))
        return table if splits is None else table.filter(pc.is_in(table["split"], pa.array(list(splits))))

    monkeypatch.setattr(pictograms, "pictures", fewer)
    monkeypatch.setattr(pictograms, "names", lambda languages=None: names)
    monkeypatch.setattr(nouns, "read", lambda: words.filter(pc.is_valid(words["imagenet"])))


def small() -> TinyConfig:
    config = tiny()
    model = replace(config.model, image=EfficientNetConfig(image_size=32, hidden=32), text=text_tower(1, 64))
    model = replace(model, image=replace(model.image, projection=64), text=replace(model.text, projection=64))
    return override(replace(config, model=model, image_size=32, views=2), [
        "anchored.steps=4", "anchored.batch=16", "locked.steps=6", "locked.batch=16", "unlocked.steps=8",
        "unlocked.batch=8", "classes=4", "english_texts=4", "locked.log_every=1", "anchored.log_every=1",
        "unlocked.log_every=1", "locked.checkpoint_every=2", "unlocked.checkpoint_every=2",
        "locked.evaluate_every=6", "unlocked.evaluate_every=8"])


def losses(folder):
    return [(r["stage"], r["step"], r["loss"]) for r in MetricLog(folder / "metrics.jsonl").read() if "loss" in r]


def test_a_stopped_run_resumes_exactly_and_its_model_can_be_used(sliver, tmp_path):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    folder = recipe.train(small(), straight)
    for step, stage in ((3, "anchored"), (5, "locked"), (7, "unlocked")):
        recipe.train(small(), stopped, stop_after=step)
        assert losses(stopped)[-1][:2] == (stage, step)
    again = recipe.train(small(), stopped)
    by_step = {(stage, step): loss for stage, step, loss in losses(straight)}
    assert losses(stopped) == losses(straight) and len(by_step) == 18
    assert (folder / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()

    card, model = read_card(folder), load_model(folder)
    assert card.calibration is not None and model.spec.calibration == card.calibration
    assert card.data_sha256 == pictograms.manifest().sha256
    assert "sw" not in model.spec.languages and "es" in model.spec.languages
    scores = [r for r in MetricLog(straight / "metrics.jsonl").read() if r["stage"] == "unlocked/scores"]
    assert set(card.scores) == set(scores[-1]) - {"step", "stage"}
    assert json.loads((straight / "recipe.json").read_text())["unlocked"]["steps"] == 8
    assert recipe.read_recipe(folder) == small()
    vectors = model.embed_texts(["red apple", "manzana roja"])
    assert vectors.shape == (2, 64) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    text = (folder / "README.md").read_text()
    assert f"{card.scores['seen_concepts/unseen_vendor/t2i_hit@1']:.3f}" in text

    with pytest.raises(CheckpointError, match="another configuration"):
        recipe.train(override(small(), ["seed=1"]), straight)


def test_only_the_late_blocks_learn_until_all_do(sliver, tmp_path):
    from diptych.models.checkpoints.efficientnet_lite0 import load_imagenet

    original = load_imagenet().trunk.state_dict()

    def changed(name, *settings):
        config = override(small(), list(settings))
        trunk = load_model(recipe.train(config, tmp_path / name)).towers.image.trunk.state_dict()
        return {k for k in original if not torch.equal(trunk[k], original[k].half().float())}

    assert changed("frozen", "unlocked.steps=0", "late_blocks=0") == set()
    late = changed("late", "unlocked.steps=0")
    last_four = ("blocks.12.", "blocks.13.", "blocks.14.", "blocks.15.", "head.")
    # four steps may leave a bias where half precision sees no difference, but no layer untouched
    assert late <= {k for k in original if k.startswith(last_four) and "depthwise" not in k}
    assert {k for k in original if k.startswith(last_four) and k.endswith("weight") and "depthwise" not in k} <= late
    assert changed("all") > late


def test_from_scratch_with_the_softmax_loss(sliver, tmp_path):
    config = tiny_scratch()
    vit = VitConfig(image_size=32, patch_size=16, width=32, layers=1, heads=2, mlp_width=64, projection=64)
    config = override(
        replace(config, image_size=32, model=replace(config.model, image=vit,
                                                     text=replace(text_tower(1, 64), projection=64))),
        ["unlocked.steps=3", "unlocked.batch=8", "loss=softmax", "unlocked.evaluate_every=3",
         "unlocked.log_every=1", "unlocked.optimizer.lr=1e-4"])
    folder = recipe.train(config, tmp_path / "once")
    model = load_model(folder)
    assert model.spec.score_kind == "softmax" and len(losses(tmp_path / "once")) == 3
    assert model.towers.logit_bias is None
    card = (folder / "README.md").read_text()
    assert "ViT of 1 layers × 32 at 32 px, from scratch" in card and "`diptych train tiny_scratch`" in card
    assert "ImageNet weights" not in card and "Teacher" not in card

    # looking at the model does not change it: an evaluation after every step leaves the same weights
    often = recipe.train(override(config, ["unlocked.evaluate_every=1"]), tmp_path / "often")
    assert (often / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
