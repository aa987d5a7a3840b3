"""The committed diptych-tiny: small enough, described honestly, and it finds things in three scripts."""

import shutil

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych import workbench
from diptych.core.errors import IndexMismatch
from diptych.data import pictograms
from diptych.inputs.image import decode
from diptych.models.checkpoints import folders
from diptych.models.checkpoints.loading import load_embedder as load_model
from diptych.models.checkpoints.native import read_card, read_config
from diptych.recipes.tiny import tiny
from diptych.recipes.tiny.card import render
from diptych.recipes.tiny.run import open_gallery, score, scored_gallery

FOLDER = folders.find("diptych-tiny").folder


@pytest.fixture(scope="module")
def model():
    return load_model(FOLDER)


def test_it_is_small_and_in_half_precision():
    from safetensors import safe_open

    assert sum(f.stat().st_size for f in FOLDER.iterdir()) <= 30e6
    with safe_open(FOLDER / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(k).get_dtype() for k in weights.keys()} == {"F16"}  # noqa: SIM118


def test_it_is_what_the_recipe_makes(model):
    config, card = tiny(), read_card(FOLDER)
    assert model.towers.config == config.model and model.spec.name == config.name
    assert card.data_sha256 == pictograms.manifest().sha256
    assert not set(config.held_out_languages) & set(model.spec.languages) and not model.spec.general
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == render(config, read_config(FOLDER), card)


def test_it_is_loaded_by_name():
    assert diptych.load_model("diptych-tiny").spec == load_model(FOLDER).spec
    assert workbench.choose_model(None).name == "diptych-tiny" and workbench.choose_model(None).notice


def test_a_collection_remembers_a_model_of_ones_own_by_its_path(tmp_path):
    """It has the bundled one's name and other vectors: only its path leads back to it."""
    own = shutil.copytree(FOLDER, tmp_path / "own")
    config = (own / "config.json").read_text(encoding="utf-8")
    (own / "config.json").write_text(config.replace('"bicubic"', '"bilinear"'), encoding="utf-8")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    workbench.index([tmp_path / "red.png"], "mine", str(own))
    found = workbench.open_collection("mine")
    assert found.embedder.spec.name == str(own)
    assert found.embedder.spec.fingerprint != load_model(FOLDER).spec.fingerprint
    with pytest.raises(IndexMismatch, match=f"use --model {own}"):
        workbench.open_collection("mine", "diptych-tiny")


@pytest.mark.slow
def test_the_card_says_what_evaluation_finds(model):
    found, said = score(scored_gallery(tiny()), model, tiny()), read_card(FOLDER).scores
    assert found.keys() == said.keys()
    # the card was written in bfloat16, which moves single pictures across a rank: 1 of 169 is 0.006
    assert [found[k] for k in said] == pytest.approx(list(said.values()), abs=0.02)


def test_it_beats_the_classical_floor_by_far():
    from diptych.recipes.tiny.card import FLOORS

    scores = read_card(FOLDER).scores
    for test, (first, fifth) in FLOORS.items():
        assert scores[f"{test}/t2i_hit@1"] > 1.5 * first and scores[f"{test}/t2i_hit@5"] > 1.5 * fifth


@pytest.mark.parametrize("query", ["red apple", "manzana roja", "赤リンゴ"])
def test_an_apple_is_an_apple_in_three_scripts(model, query):
    gallery = open_gallery(["train"], vendors=["noto"])
    ranked = np.argsort(-(gallery_vectors(model, gallery) @ model.embed_texts([query])[0]))
    apples = {"1f34e", "1f34f"}
    assert apples & {gallery.items[i].concept for i in ranked[:3]}


_CACHE: dict[str, np.ndarray] = {}


def gallery_vectors(model, gallery):
    if "noto" not in _CACHE:
        _CACHE["noto"] = model.embed_images(gallery.pictures)
    return _CACHE["noto"]


def test_vectors_do_not_depend_on_batch_mates(model):
    assert model.engine.name == "torch fp32"  # its convolutions lose 0.01 of a cosine in bfloat16: docs/models.md
    rows = pictograms.pictures(vendors=["fluent-3d"]).slice(0, 20)["picture"].to_pylist()
    pictures = [decode(data) for data in rows]
    alone = np.concatenate([model.embed_images([p]) for p in pictures])
    np.testing.assert_allclose(model.embed_images(pictures), alone, atol=1e-5)
    texts = ["red apple", "a photo of a very long red thing " * 9, ""]
    both = model.embed_texts(texts)
    assert np.allclose(both, np.concatenate([model.embed_texts([t]) for t in texts]), atol=1e-5)
