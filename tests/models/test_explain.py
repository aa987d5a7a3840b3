"""Patch features, heat maps and tiles: what they must equal, and where they must point."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from small_towers import (
    clip_towers,
    embedder_of,
    max_gap,
    pictures,
    random_towers,
    siglip_towers,
    tiny_towers,
)

from diptych.inputs.image import Preprocessing, preprocess_batch, region
from diptych.inputs.naflex import NaflexPreprocessing, grid_for
from diptych.models import dense, explain
from diptych.models.config import EfficientNetConfig, EvaConfig, FastVitConfig, NaflexConfig, ResNetConfig, VitConfig
from diptych.models.naflex import PackedPatches
from diptych.models.two_tower import TwoTower

SMALL = {"image_size": 32, "patch_size": 8, "width": 24, "layers": 2, "heads": 3, "mlp_width": 40}
TOWERS = {
    "map": VitConfig(**SMALL), "cls": VitConfig(**SMALL, pool="cls", pre_norm=True, projection=20),
    "mean": VitConfig(**SMALL, pool="mean", projection=20),
    "clipa": VitConfig(**SMALL, pool="mean", cls_token=True, norm_after_pool=True, projection=20),
    "coca": VitConfig(**SMALL, pool="query", projection=16, queries=3, query_heads=4),
    "eva": EvaConfig(**SMALL, rope_grid=4, projection=20),
    "pe": EvaConfig(**SMALL, rope_grid=4, pool="map", swiglu=False, inner_norm=False, pre_norm=True, key_bias=True,
                    pool_heads=4, projection=20),
    "resnet": ResNetConfig(image_size=64, layers=(1, 1, 1, 1), width=8, heads=4, projection=20),
    "fastvit": FastVitConfig(image_size=64, widths=(32, 32, 64, 64), depths=(1, 1, 1, 1), projection=20),
    "efficientnet": EfficientNetConfig(image_size=64, hidden=None, projection=20),
    "naflex": NaflexConfig(patch_size=8, grid=4, max_patches=16, width=24, layers=2, heads=3, mlp_width=40),
}


def tower(name: str) -> torch.nn.Module:
    image = TOWERS[name]
    projection = getattr(image, "projection", None) or image.width
    text = dataclasses.replace(siglip_towers().text, projection=projection)
    return random_towers(dataclasses.replace(siglip_towers(), image=image, text=text)).image


def pixels(name: str, count: int = 2) -> torch.Tensor | PackedPatches:
    if name == "naflex":
        return PackedPatches(torch.randn(3 * 4 + 2 * 2, 192), torch.tensor([[3, 4], [2, 2]]))
    return torch.randn(count, 3, TOWERS[name].image_size, TOWERS[name].image_size)


@pytest.mark.parametrize("name", TOWERS)
def test_every_tower_has_a_unit_vector_for_every_patch(name):
    model, batch = tower(name), pixels(name)
    vectors, features = dense.patch_embeddings(model, batch), dense.patch_features(model, batch)
    patches = 16 if name == "naflex" else 2 * model.config.grid**2 if hasattr(model.config, "grid") else 2 * 2 * 2
    assert vectors.shape == (patches, model.dim) and len(features) == patches
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(patches))
    assert (vectors @ vectors.T - torch.eye(patches)).max() < 0.9999  # they differ


@pytest.mark.parametrize("name", ["map", "coca", "pe", "naflex"])
def test_a_picture_of_one_patch_is_its_patch(name):
    """Where the pooling sees one token only, the patch's embedding is the picture's: an oracle without a tolerance
    for the method."""
    if name == "naflex":
        model, batch = tower(name), PackedPatches(torch.randn(2, 192), torch.tensor([[1, 1], [1, 1]]))
    else:
        changes = {"image_size": 8, "patch_size": 8} | ({"cls_token": False} if name != "map" else {})
        config = dataclasses.replace(TOWERS[name], **changes)
        towers = dataclasses.replace(siglip_towers(), image=config, text=dataclasses.replace(
            siglip_towers().text, projection=getattr(config, "projection", None) or config.width))
        model, batch = random_towers(towers).image, torch.randn(2, 3, 8, 8)
    whole = torch.nn.functional.normalize(model(batch), dim=-1)
    assert max_gap(dense.patch_embeddings(model, batch), whole) < 1e-5


@pytest.mark.parametrize("name", ["fastvit", "mean", "clipa"])
def test_where_the_mean_is_pooled_the_patches_average_to_the_picture(name):
    model, batch = tower(name), pixels(name)
    if name == "fastvit":
        each = model.projection(model.patch_tokens(batch))
        torch.testing.assert_close(each.mean(dim=1), model(batch), rtol=1e-5, atol=1e-2)  # features of 1e4
        assert max_gap(torch.nn.functional.normalize(each, dim=-1).flatten(0, 1),
                       dense.patch_embeddings(model, batch)) < 1e-6
    else:
        each = model.projection(model.norm_post(model.patch_tokens(batch)))
        assert max_gap(torch.nn.functional.normalize(each, dim=-1).flatten(0, 1),
                       dense.patch_embeddings(model, batch)) < 1e-6


def test_a_class_pooled_patch_attends_to_itself_in_the_last_block():
    """MaskCLIP by its definition: the value projection instead of attention, then the block's MLP, norm, projection."""
    model, batch = tower("cls"), pixels("cls")
    x, block = model.tokens(batch, blocks=1)[:, 1:], model.blocks[1]
    value = block.attention.in_proj(block.norm1(x)).chunk(3, dim=-1)[2]
    x = x + block.attention.out_proj(value)
    x = model.projection(model.norm_post(x + block.mlp(block.norm2(x))))
    expected = torch.nn.functional.normalize(x, dim=-1).flatten(0, 1)
    assert max_gap(dense.patch_embeddings(model, batch), expected) < 1e-6


def test_pixels_and_packed_patches_are_not_mixed_up():
    with pytest.raises(ValueError, match="Vit does not take PackedPatches"):
        dense.patch_embeddings(tower("map"), pixels("naflex"))
    with pytest.raises(ValueError, match="NaflexVit does not take Tensor"):
        dense.patch_features(tower("naflex"), pixels("map"))


@pytest.mark.parametrize("name", ["siglip", "clip", "tiny"])
def test_an_explanation_is_the_cosines_of_patches_and_text(name):
    model = embedder_of({"siglip": siglip_towers(), "clip": clip_towers(), "tiny": tiny_towers()}[name])
    picture = pictures(1)[0]
    found = explain.explain(model, picture, "a red boat")
    words = model.embed_texts(["a red boat"])[0]
    patches = dense.patch_embeddings(
        model.towers.image, torch.from_numpy(preprocess_batch([picture], model.preprocessing)))
    np.testing.assert_allclose(found.cosines, (patches.numpy() @ words).reshape(4, 4), atol=1e-6)
    assert found.cosine == pytest.approx(float(model.embed_images([picture])[0] @ words), abs=1e-6)
    assert found.probability == pytest.approx(model.spec.probability(found.cosine))
    heats = explain.heats(model, picture, ["a dog", "a red boat"])
    np.testing.assert_allclose(heats[1], found.heat(*picture.size), atol=1e-4)  # over a small range of cosines
    assert np.abs(heats[0] - heats[1]).max() > 0.01


def test_patch_features_of_a_fixed_size_tower_are_its_tokens():
    model = embedder_of(siglip_towers())
    images = pictures(3)
    grids = explain.patch_features(model, images)
    tokens = model.towers.image.tokens(torch.from_numpy(preprocess_batch(images, model.preprocessing)))
    assert [grid.shape for grid in grids] == [(4, 4, 24)] * 3
    np.testing.assert_allclose(np.stack(grids).reshape(3, 16, 24), tokens.numpy(), atol=1e-5)
    assert explain.patch_features(model, []) == []


def test_a_heat_map_lies_where_the_model_looked():
    cosines = np.zeros((2, 2), np.float32)
    cosines[1, 0] = 0.5  # below, left
    for policy, size in (("squash", (200, 100)), ("shortest_crop", (200, 100)), ("pad", (200, 100))):
        box = explain.Box(*region(*size, Preprocessing(size=32, policy=policy)))
        found = explain.Explanation(text="a", cosines=cosines, cosine=0.1, probability=0.2, box=box)
        heat = found.heat(*size)
        assert heat.shape == (100, 200) and heat.min() >= 0 and heat.max() <= 1
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert row >= 49 and column < 101
        shown = np.asarray(found.overlay(Image.new("RGB", size, "white"))).mean(axis=2)
        assert shown[row, column] > 250 and shown[5, 195] < 70
    left, top, right, bottom = region(200, 100, Preprocessing(size=32, policy="shortest_crop"))
    assert (left, top, right, bottom) == (50, 0, 150, 100)


def test_large_pictures_are_seen_as_a_whole_and_in_tiles():
    model = embedder_of(tiny_towers())
    picture = pictures(1)[0].resize((160, 80))
    tiled = explain.embed_tiled(model, [picture], scales=(1, 2))[0]
    assert tiled.boxes[0] == (0, 0, 160, 80) and len(tiled.boxes) == len(tiled.vectors) > 4
    np.testing.assert_allclose(tiled.vectors[0], model.embed_images([picture])[0], atol=1e-5)
    part = picture.crop(tuple(tiled.boxes[3]))
    np.testing.assert_allclose(tiled.vectors[3], model.embed_images([part])[0], atol=1e-5)
    assert np.linalg.norm(tiled.mean) == pytest.approx(1.0, abs=1e-5)
    query = tiled.vectors[3][None]
    assert tiled.similarity(query)[0] == pytest.approx(1.0, abs=1e-5)
    assert tiled.similarity(query, "mean")[0] == pytest.approx(float(query[0] @ tiled.mean), abs=1e-6)
    small = explain.embed_tiled(model, [picture.resize((40, 20))], scales=(1, 2, 3))[0]
    assert small.boxes == ((0, 0, 40, 20),)  # a tile of it would be smaller than the model's 32 pixels


def test_naflex_pictures_keep_their_own_grids():
    preprocessing = NaflexPreprocessing(patch_size=8, max_patches=16)
    towers = TwoTower(dataclasses.replace(siglip_towers(), image=TOWERS["naflex"])).eval().requires_grad_(False)
    model = embedder_of(towers, preprocessing)
    images = [Image.new("RGB", (64, 32), "red"), Image.new("RGB", (20, 60), "blue")]
    for found, picture in zip(explain.patch_embeddings(model, images), images, strict=True):
        assert found.shape == (*grid_for(*picture.size, preprocessing), 24)
        alone = explain.patch_embeddings(model, [picture])[0]
        np.testing.assert_allclose(found, alone, atol=1e-5)
