"""ModifiedResNet against open_clip's on the same weights, with BatchNorms there and merged here; and its keys."""

import re

import pytest
import torch
from reference import open_clip
from small_resnets import random_reference, reference
from small_towers import max_gap

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps import keys, resnet
from diptych.models.config import ResNetConfig
from diptych.models.layers import channels_last
from diptych.models.resnet import ResNet

TOLERANCE = 1e-5
"""Of float32 values around 1 (`randomise_evenly` sees to it): merging multiplies a kernel's weights by the norm's
gain before they are summed, not after, and each of some twenty layers rounds once."""

CONFIGS = {
    "one block a stage": ResNetConfig(image_size=64, layers=(1, 1, 1, 1), width=8, heads=4, projection=12),
    "uneven stages": ResNetConfig(image_size=96, layers=(2, 1, 3, 2), width=16, heads=8, projection=20),
    "trailing pixels": ResNetConfig(image_size=70, layers=(1, 2, 1, 1), width=8, heads=2, projection=9),
}
PUBLISHED = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")


def published(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {f"visual.{name}": tensor for name, tensor in model.state_dict().items()}


def read(weights: dict[str, torch.Tensor], config: ResNetConfig) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = {f"image.{name}": tuple(tensor.shape) for name, tensor in ResNet(config).state_dict().items()}
    state = keys.read(resnet.merge(weights, config), resnet.names(config), shapes, "open_clip")
    return {name.removeprefix("image."): tensor for name, tensor in state.items()}


def tower(weights: dict[str, torch.Tensor], config: ResNetConfig) -> ResNet:
    with torch.device("meta"):
        ours = ResNet(config).eval()
    ours.load_state_dict(read(weights, config), strict=True, assign=True)
    return ours.requires_grad_(False)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("batch", [2, 5])
def test_features_and_maps_are_open_clips(config, batch):
    theirs = random_reference(config)
    ours = tower(published(theirs), config)
    pixels = torch.randn(batch, 3, config.image_size, config.image_size)
    with torch.inference_mode():
        expected = theirs(pixels)
        (maps,) = theirs.forward_intermediates(pixels, 1, intermediates_only=True)["image_intermediates"]
        assert expected.std(dim=0).mean() > 0.1 and maps.std(dim=0).mean() > 0.1, "these features ignore the picture"
        features = ours(pixels)
        assert features.shape == (batch, ours.dim) == (batch, config.projection)
        assert max_gap(features, expected) < TOLERANCE
        assert max_gap(features[:1], ours(pixels[:1])) < TOLERANCE
        assert max_gap(ours.tokens(pixels), maps) < TOLERANCE * maps.max()
        assert torch.equal(ours.patch_tokens(pixels)[:, config.grid + 1], ours.tokens(pixels)[:, :, 1, 1])


def test_channels_last_changes_nothing():
    config = CONFIGS["uneven stages"]
    ours = tower(published(random_reference(config)), config)
    pixels = torch.randn(2, 3, 96, 96)
    expected = ours(pixels)
    channels_last(ours)
    last = pixels.contiguous(memory_format=torch.channels_last)
    assert ours.tokens(last).is_contiguous(memory_format=torch.channels_last), "a copy was made on the way"
    assert max_gap(ours(last), expected) < TOLERANCE


def test_maps_of_any_size_but_pooling_only_of_the_positions_grid():
    config = CONFIGS["one block a stage"]
    ours = ResNet(config).eval()
    assert ours.tokens(torch.randn(1, 3, 96, 160)).shape == (1, 256, 3, 5)
    with pytest.raises(ValueError, match="the map has 9 cells, the positions 4"):
        ours(torch.randn(1, 3, 96, 96))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_there_and_back_changes_nothing_and_the_original_gives_the_same(config):
    ours = tower(published(random_reference(config)), config)
    state = {f"image.{name}": tensor for name, tensor in ours.state_dict().items()}
    written = resnet.split(keys.write(state, resnet.names(config)), config)
    back = read(written, config)
    assert back.keys() == ours.state_dict().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in ours.state_dict().items())

    theirs = reference(config).eval()
    theirs.load_state_dict({name.removeprefix("visual."): tensor for name, tensor in written.items()}, strict=True)
    pixels = torch.randn(2, 3, config.image_size, config.image_size)
    with torch.inference_mode():
        assert max_gap(theirs(pixels), ours(pixels)) < TOLERANCE
    # in float64, where next to no ReLU is so near its kink that rounding decides on which side
    pixels = pixels.double().requires_grad_()
    slopes = [torch.autograd.grad(model.double()(pixels).square().sum(), pixels)[0] for model in (theirs, ours)]
    assert max_gap(*slopes) < TOLERANCE * slopes[0].abs().max()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_sizes_have_the_shapes_that_open_clip_builds(name):
    sizes = open_clip().get_model_config(name)
    vision = sizes["vision_cfg"]
    config = ResNetConfig(
        image_size=vision["image_size"], layers=tuple(vision["layers"]), width=vision["width"],
        heads=vision["width"] * 32 // 64, projection=sizes["embed_dim"])
    with torch.device("meta"):
        state = read(published(reference(config)), config)  # strict both ways
        ours = ResNet(config)
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in ours.state_dict().items()}


def test_every_key_must_be_there_and_of_its_shape():
    config = CONFIGS["one block a stage"]
    weights = published(random_reference(config))
    for key, tensor in weights.items():
        rest = {k: v for k, v in weights.items() if k != key}
        if key.endswith("num_batches_tracked"):
            read(rest, config)  # files of before PyTorch 0.4.1 have no counters
            continue
        with pytest.raises(CheckpointError, match=f"lack '{re.escape(key)}'"):
            read(rest, config)
        wrong = torch.zeros(*tensor.shape, 2)
        with pytest.raises(CheckpointError, match=re.escape(f"'{key}' has shape {list(wrong.shape)}, expected ")):
            read(rest | {key: wrong}, config)


def test_a_kernel_of_other_channels_is_told_apart_from_its_norm():
    config = CONFIGS["one block a stage"]
    weights = published(random_reference(config))
    with pytest.raises(CheckpointError, match=r"'visual\.conv2\.weight' has shape \[4, 5, 3, 3\], expected \[4, 4, 3"):
        read(weights | {"visual.conv2.weight": torch.zeros(4, 5, 3, 3)}, config)
    with pytest.raises(CheckpointError, match=r"'visual\.bn1\.weight' has shape \[4\], expected \[6\]"):
        read(weights | {"visual.conv1.weight": torch.zeros(6, 3, 3, 3)}, config)


def test_what_the_layout_has_not_is_named():
    config = CONFIGS["one block a stage"]
    weights = published(random_reference(config))
    with pytest.raises(CheckpointError, match=r"'visual\.layer1\.0\.conv1\.bias': the convolutions .* have none"):
        read(weights | {"visual.layer1.0.conv1.bias": torch.zeros(8)}, config)
    with pytest.raises(CheckpointError, match=r"keys that .* has not: visual\.layer1\.1\.bn1\.weight"):
        read(weights | {"visual.layer1.1.bn1.weight": torch.zeros(8)}, config)


def test_half_precision_weights_are_merged_in_float32():
    config = CONFIGS["one block a stage"]
    half = {key: tensor.half() if tensor.is_floating_point() else tensor
            for key, tensor in published(random_reference(config)).items()}
    single = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in half.items()}
    one, other = read(half, config), read(single, config)
    assert one["stem.0.weight"].dtype == torch.float32
    assert all(torch.equal(one[name].float(), other[name]) for name in other)
