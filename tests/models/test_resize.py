"""Towers at another resolution: FlexiViT's property of its patches, timm's numbers, and what cannot be resized."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import timm
from small_towers import max_gap, random_towers, siglip_towers

from diptych.models.config import EvaConfig, FastVitConfig, NaflexConfig, ResNetConfig, VitConfig
from diptych.models.resize import resize, resize_patches
from diptych.models.two_tower import TwoTower


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 9), st.integers(0, 7))
def test_an_enlarged_patch_gives_the_token_of_the_patch(size, more):
    """FlexiViT's equation 3: ⟨B x, ŵ⟩ = ⟨x, w⟩ for every patch x where B enlarges, up to float32."""
    kernels, patch = torch.randn(5, 3, size, size), torch.randn(1, 3, size, size)
    larger = F.interpolate(patch.double(), size=size + more, mode="bilinear", antialias=True, align_corners=False)
    resized = resize_patches(kernels, size + more)
    tokens, expected = (resized.double() * larger).sum(dim=(1, 2, 3)), (kernels * patch).sum(dim=(1, 2, 3)).double()
    assert max_gap(tokens, expected) < 1e-4


@pytest.mark.parametrize(("old", "new"), [(8, 8), (8, 16), (16, 8), (14, 16), (32, 12)])
def test_patches_are_resized_as_timm_does(old, new):
    kernels = torch.randn(4, 3, old, old)
    resample = timm().layers.patch_embed.resample_patch_embed
    theirs = resample(kernels, [new, new], interpolation="bilinear", antialias=True)
    # timm inverts in float32; kernels made smaller have numbers of about 11
    torch.testing.assert_close(resize_patches(kernels, new), theirs, rtol=1e-5, atol=2e-5)


SMALL = {"image_size": 32, "patch_size": 8, "width": 24, "layers": 1, "heads": 3, "mlp_width": 40}
IMAGES = {
    "vit": VitConfig(**SMALL),
    "clip": VitConfig(**SMALL, pool="cls", projection=24),
    "eva": EvaConfig(**SMALL, rope_grid=4, projection=24),
    "resnet": ResNetConfig(image_size=64, layers=(1, 1, 1, 1), width=8, heads=4, projection=24),
    "fastvit": FastVitConfig(image_size=64, widths=(32, 32, 64, 64), depths=(1, 1, 1, 1), projection=24),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("image_size", [None, 64, 96])
def test_the_resized_towers_take_pictures_of_their_size(name, image_size):
    towers = random_towers(dataclasses.replace(siglip_towers(), image=IMAGES[name]))
    state, config = resize(towers.state_dict(), towers.config, image_size)
    other = TwoTower(config).eval().requires_grad_(False)
    other.load_state_dict(state)
    size = image_size or IMAGES[name].image_size
    assert other.encode_image(torch.randn(2, 3, size, size)).shape == (2, 24)
    if size == IMAGES[name].image_size:
        assert all(torch.equal(state[key], tensor) for key, tensor in towers.state_dict().items())
    assert torch.equal(state["text.position"], towers.text.position)


def test_a_picture_of_flat_colours_looks_alike_at_twice_the_size_and_twice_the_patch():
    """Both resized together: each token sees the same patch enlarged, at the same place."""
    towers = random_towers(siglip_towers())
    state, config = resize(towers.state_dict(), towers.config, image_size=64, patch_size=16)
    other = TwoTower(config).eval().requires_grad_(False)
    other.load_state_dict(state)
    pixels = torch.randn(2, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    larger = pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert max_gap(towers.encode_image(pixels), other.encode_image(larger)) < 1e-4


def test_what_cannot_be_resized_is_refused():
    towers = random_towers(siglip_towers())
    with pytest.raises(ValueError, match="a picture of 4 pixels is smaller than a patch of 8"):
        resize(towers.state_dict(), towers.config, image_size=4)
    for image, asked, message in (
        (IMAGES["resnet"], {"patch_size": 4}, "patch_size cannot be changed: resnet"),
        (IMAGES["resnet"], {"image_size": 16}, "divides its sides by 32"),
        (NaflexConfig(), {"image_size": 64}, "change max_patches"),
        (VitConfig(stem="conv", pool="cls"), {"patch_size": 8}, "leave patch_size out"),
    ):
        with pytest.raises(ValueError, match=message):
            resize({}, dataclasses.replace(siglip_towers(), image=image), **asked)
