"""The picture tower's own choices; its numbers are compared in test_huggingface.py and test_open_clip.py."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_towers import max_gap, randomise

from diptych.models.config import VitConfig
from diptych.models.vit import Vit, resize_positions

SMALL = {"image_size": 16, "patch_size": 8, "width": 12, "layers": 1, "heads": 2, "mlp_width": 20}


@pytest.mark.parametrize("pool", ["map", "cls", "mean", "query"])
@pytest.mark.parametrize("projection", [None, 8])
@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_every_pooling_gives_one_vector_a_picture_whatever_its_batch(pool, projection, stem):
    size = {"image_size": 32, "patch_size": 16, "stem": stem}
    tower = randomise(Vit(VitConfig(**SMALL | size, pool=pool, projection=projection, query_heads=4, queries=3)))
    pixels = torch.randn(5, 3, 32, 32)
    features = tower(pixels)
    assert features.shape == (5, projection or 12) == (5, tower.dim)
    assert max_gap(features[3:4], tower(pixels[3:4])) < 1e-5


def test_mean_pooling_is_the_mean_of_the_normalised_tokens():
    tower = randomise(Vit(VitConfig(**SMALL, pool="mean")))
    pixels = torch.randn(2, 3, 16, 16)
    assert max_gap(tower(pixels), tower.norm_post(tower.tokens(pixels)).mean(dim=1)) < 1e-6


@pytest.mark.parametrize("after", [False, True])
def test_a_mean_leaves_the_class_token_out_and_is_normalised_before_or_after(after):
    tower = randomise(Vit(VitConfig(**SMALL, pool="mean", cls_token=True, norm_after_pool=after)))
    pixels = torch.randn(2, 3, 16, 16)
    patches = tower.tokens(pixels)[:, 1:]
    expected = tower.norm_post(patches.mean(dim=1)) if after else tower.norm_post(patches).mean(dim=1)
    assert max_gap(tower(pixels), expected) < 1e-6


@pytest.mark.parametrize(("choice", "prefix"), [({"pool": "map"}, 0), ({"pool": "cls"}, 1), ({"pool": "query"}, 1),
                                                ({"pool": "mean", "cls_token": True}, 1)])
def test_patch_tokens_are_the_sequence_without_its_class_token(choice, prefix):
    tower = randomise(Vit(VitConfig(**SMALL, **choice, query_heads=4)))
    pixels = torch.randn(2, 3, 16, 16)
    assert tower.tokens(pixels).shape == (2, prefix + 4, 12)
    assert torch.equal(tower.patch_tokens(pixels), tower.tokens(pixels)[:, prefix:])


def test_only_the_first_query_makes_the_embedding():
    tower = randomise(Vit(VitConfig(**SMALL, pool="query", query_heads=4, queries=3)))
    pixels = torch.randn(2, 3, 16, 16)
    before = tower(pixels)
    tower.pool.query[1:] += 1.0
    assert torch.equal(tower(pixels), before)
    tower.pool.query[0] += torch.randn(12)
    assert max_gap(tower(pixels), before) > 1e-3


def test_the_class_token_of_a_convolutional_stem_has_no_position():
    size = {"image_size": 32, "patch_size": 16, "layers": 0}
    tower = randomise(Vit(VitConfig(**SMALL | size, pool="cls", stem="conv")))
    assert tower.position.shape == (4, 12) and tower.config.position_prefix == 0
    assert torch.equal(tower.tokens(torch.randn(1, 3, 32, 32))[0, 0], tower.cls_token)


def test_pixels_that_fill_no_patch_are_dropped():
    """SO400M-14-384: 27 × 27 patches, 6 pixels left over on the right and the bottom."""
    config = VitConfig(**SMALL | {"image_size": 21})
    assert config.grid == 2 and VitConfig(image_size=384, patch_size=14).grid == 27
    tower, pixels = randomise(Vit(config)), torch.randn(2, 3, 21, 21)
    changed = pixels.clone()
    changed[:, :, 16:] = 9.0
    changed[:, :, :, 16:] = 9.0
    assert torch.equal(tower(pixels), tower(changed))
    changed[:, :, 15, 15] = 9.0
    assert max_gap(tower(pixels), tower(changed)) > 1e-3


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="multiple of heads, got 12 and 5"):
        VitConfig(**SMALL | {"heads": 5})
    with pytest.raises(ValueError, match="image_size 4 is smaller than patch_size 8"):
        VitConfig(**SMALL | {"image_size": 4})
    with pytest.raises(ValueError, match="pool='cls' needs a class token"):
        VitConfig(**SMALL, pool="cls", cls_token=False)
    with pytest.raises(ValueError, match="norm_after_pool is about pool='mean', got pool='map'"):
        VitConfig(**SMALL, norm_after_pool=True)
    with pytest.raises(ValueError, match="make patches of 16 pixels, got 8"):
        VitConfig(**SMALL, stem="conv")
    with pytest.raises(ValueError, match="multiple of query_heads, got 12 and 8"):
        VitConfig(**SMALL, pool="query")


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 5), st.sampled_from([0, 1]))
def test_positions_of_the_same_grid_stay_as_they_are(grid, width, prefix):
    position = torch.randn(prefix + grid**2, width)
    assert torch.equal(resize_positions(position, grid, prefix), position)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(1, 12), st.sampled_from([0, 1]))
def test_resized_positions_keep_the_prefix_a_constant_and_the_range(grid, new, prefix):
    position = torch.randn(prefix + grid**2, 3)
    position[prefix:, 0] = 0.25
    resized = resize_positions(position, new, prefix)
    assert resized.shape == (prefix + new**2, 3)
    assert torch.equal(resized[:prefix], position[:prefix])
    torch.testing.assert_close(resized[prefix:, 0], torch.full((new**2,), 0.25))
    assert resized[prefix:].max() <= position[prefix:].max() + 1e-6
    assert resized[prefix:].min() >= position[prefix:].min() - 1e-6


def test_halved_positions_are_local_means_and_orientation_is_kept():
    """Antialiased bilinear at 1/2: a ramp along a row stays a ramp along a row."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    resized = resize_positions(torch.stack([rows, columns], dim=-1).reshape(64, 2), 4, 0).reshape(4, 4, 2)
    torch.testing.assert_close(resized[1, 1:3, 1], torch.tensor([2.5, 4.5]))  # means of 2 and 3, of 4 and 5
    torch.testing.assert_close(resized[1:3, 1, 0], torch.tensor([2.5, 4.5]))
    assert torch.equal(resized[..., 0], resized[..., 1].T)


def test_positions_of_no_square_grid_are_refused():
    with pytest.raises(ValueError, match="5 positions do not form a square grid"):
        resize_positions(torch.randn(6, 4), 3, 1)
