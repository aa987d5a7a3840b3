"""Patches against transformers' processor (its Pillow variant), value for value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.siglip2.image_processing_pil_siglip2 import (
    Siglip2ImageProcessorPil,
    get_image_size_for_max_num_patches,
)

from diptych.inputs.naflex import NaflexPreprocessing, grid_for, pack, patchify

EXTREME = [(1, 1), (1, 2000), (2000, 1), (20_000, 10), (10, 20_000), (16, 16), (256, 256), (640, 480), (333, 517)]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def reference(pictures, preprocessing: NaflexPreprocessing):
    """Unpadded patches of each picture, and the grids."""
    processor = Siglip2ImageProcessorPil(
        patch_size=preprocessing.patch_size, max_num_patches=preprocessing.max_patches,
        image_mean=list(preprocessing.mean), image_std=list(preprocessing.std),
        resample=Image.Resampling[preprocessing.interpolation.upper()])
    batch = processor(images=list(pictures), return_tensors="np")
    real = batch["pixel_attention_mask"].astype(bool)
    return [values[mask] for values, mask in zip(batch["pixel_values"], real, strict=True)], batch["spatial_shapes"]


@pytest.mark.parametrize("preprocessing", [
    NaflexPreprocessing(),
    NaflexPreprocessing(max_patches=64, interpolation="bicubic"),
    NaflexPreprocessing(patch_size=14, max_patches=1024, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28)),
    NaflexPreprocessing(patch_size=8, max_patches=1),
], ids=lambda p: f"{p.max_patches} of {p.patch_size}")
def test_every_value_is_that_of_transformers(preprocessing):
    pictures = [noise(*size) for size in EXTREME]
    patches, grids = reference(pictures, preprocessing)
    batch = pack(pictures, preprocessing)
    assert batch.grids.tolist() == grids.tolist()
    assert batch.grids.prod(axis=1).max() <= preprocessing.max_patches
    np.testing.assert_array_equal(batch.patches, np.concatenate(patches))
    for picture, want in zip(pictures, patches, strict=True):
        np.testing.assert_array_equal(patchify(picture, preprocessing), want)


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([8, 14, 16, 32]), st.integers(1, 1500))
def test_the_grid_is_that_of_transformers(width, height, patch_size, max_patches):
    high, wide = get_image_size_for_max_num_patches(height, width, patch_size, max_patches)
    preprocessing = NaflexPreprocessing(patch_size=patch_size, max_patches=max_patches)
    assert grid_for(width, height, preprocessing) == (high // patch_size, wide // patch_size)


def test_a_one_pixel_picture_is_enlarged_a_hundred_times_at_most():
    assert grid_for(1, 1, NaflexPreprocessing()) == (7, 7)


def test_a_side_can_be_bounded_and_the_aspect_ratio_is_kept():
    bounded = NaflexPreprocessing(max_side_patches=64)
    assert grid_for(20_000, 10, NaflexPreprocessing()) == (1, 256)
    assert grid_for(20_000, 10, bounded) == (1, 64)
    assert grid_for(10, 20_000, bounded) == (64, 1)
    assert grid_for(3200, 100, bounded) == (2, 64)
    assert grid_for(640, 480, bounded) == grid_for(640, 480, NaflexPreprocessing()) == (14, 18)


def test_nothing_is_padded_and_no_picture_is_an_empty_batch():
    preprocessing = NaflexPreprocessing(patch_size=8, max_patches=20)
    batch = pack([noise(30, 90), noise(90, 30)], preprocessing)
    assert len(batch.patches) == batch.grids.prod(axis=1).sum()
    assert batch.patches.dtype == np.float32
    empty = pack([], preprocessing)
    assert empty.patches.shape == (0, 192) and empty.grids.shape == (0, 2)


@pytest.mark.parametrize("wrong", [{"patch_size": 0}, {"max_patches": 0}, {"max_side_patches": 0}, {"std": (1, 0, 1)}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NaflexPreprocessing(**wrong)
    with pytest.raises(ValueError, match="at least 1 pixel a side, got 0 × 5"):
        grid_for(0, 5, NaflexPreprocessing())
