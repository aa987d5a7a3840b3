"""Packed towers give what the towers give: in float32 to rounding, in bfloat16 and int8 within a stated cosine."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small_towers import clip_towers, max_gap, randomise, siglip_towers, tiny_towers
from torch import nn

from diptych.models import packed
from diptych.models.config import (
    EfficientNetConfig,
    EvaConfig,
    FastVitConfig,
    NaflexConfig,
    ResNetConfig,
    TextConfig,
    VitConfig,
)
from diptych.models.efficientnet import EfficientNet
from diptych.models.eva import Eva
from diptych.models.fastvit import FastVit
from diptych.models.int8 import Int8Linear, Int8Mlp, activate
from diptych.models.layers import Mlp, activation
from diptych.models.naflex import NaflexVit, PackedPatches
from diptych.models.resnet import ResNet
from diptych.models.text import TextTransformer
from diptych.models.vit import Vit

pytestmark = pytest.mark.skipif(not packed.available(), reason="this build of torch has no oneDNN; take one for x86")

VNNI = pytest.mark.skipif(not torch.cpu._is_vnni_supported(),
                          reason="needs a CPU with AVX-512 VNNI: Intel from Ice Lake, AMD from Zen 4")

SMALL = {"image_size": 32, "patch_size": 8, "width": 48, "layers": 2, "heads": 3, "mlp_width": 80}
PIXELS = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1

# The random towers have weights of 0.3, which amplify what is rounded, and sums of 48 terms, in which it cancels less
# than in sums of 768. At full size the cosines are 0.9999 and more (benchmarks/encode.py); a wrong layer gives 0.5.
BF16, INT8 = 0.998, 0.99


def vits() -> dict[str, VitConfig]:
    return {
        "siglip": VitConfig(**SMALL), "gelu": VitConfig(**SMALL, activation="gelu"),
        "clip": VitConfig(**SMALL, pool="cls", pre_norm=True, activation="quick_gelu", projection=20),
        "coca": VitConfig(**SMALL, pool="query", queries=4, query_heads=4, projection=20),
    }


def towers() -> dict[str, nn.Module]:
    eva = EvaConfig(**SMALL, rope_grid=4, projection=20)
    perception = EvaConfig(**SMALL, pool="map", pool_heads=4, swiglu=False, inner_norm=False, rope_grid=4,
                           projection=20)
    return {
        **{name: Vit(config) for name, config in vits().items()}, "eva": Eva(eva), "perception": Eva(perception),
        "resnet": ResNet(ResNetConfig(image_size=32, layers=(1, 1, 1, 1), width=8, heads=4, projection=20)),
        "fastvit": FastVit(FastVitConfig(image_size=32, widths=(32, 64), depths=(1, 1), gated_stages=1, projection=20)),
    }


TRANSFORMERS = ["siglip", "gelu", "clip", "coca", "eva", "perception"]


def unit_cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return F.cosine_similarity(a.double(), b.double(), dim=-1)


@pytest.mark.parametrize("name", towers())
@torch.inference_mode()
def test_float32_is_the_same_to_rounding(name):
    tower = randomise(towers()[name])
    expected = tower(PIXELS)
    gap = max_gap(packed.pack(tower, "fp32")(PIXELS), expected)
    assert gap < 1e-5 * max(1.0, float(expected.abs().max()))  # random convolutions give features of some hundreds


@torch.inference_mode()
def test_a_convolution_with_its_relu6_in_one_kernel():
    tower = EfficientNet(EfficientNetConfig(image_size=64, hidden=16, projection=8)).eval()
    expected = tower(torch.ones(2, 3, 64, 64))
    fused = packed.pack(tower, "fp32")
    for pixels in (torch.ones(2, 3, 64, 64), torch.ones(1, 3, 64, 64)):  # the kernel is laid out for the first shape
        assert max_gap(fused(pixels), expected[: len(pixels)]) < 1e-5
    assert any(isinstance(module, packed.PackedConv) for module in fused.modules())


@pytest.mark.parametrize("name", TRANSFORMERS)
@torch.inference_mode()
def test_bfloat16_turns_no_vector_far(name):
    tower = randomise(towers()[name])
    half = packed.pack(tower, "bf16")(PIXELS)
    assert half.dtype == torch.float32
    assert BF16 < unit_cosines(half, tower(PIXELS)).min() < 1 - 1e-9


@VNNI
@pytest.mark.parametrize("name", TRANSFORMERS)
@torch.inference_mode()
def test_int8_turns_no_vector_far(name):
    tower = randomise(towers()[name])
    eighth = packed.pack(tower, "int8")(PIXELS)
    assert INT8 < unit_cosines(eighth, tower(PIXELS)).min() < 1 - 1e-7


@pytest.mark.parametrize("config", [siglip_towers().text, clip_towers().text, tiny_towers().text], ids=lambda c: c.pool)
@torch.inference_mode()
def test_text_towers(config: TextConfig):
    tower, ids = randomise(TextTransformer(config)), torch.randint(5, 290, (4, config.context_length))
    ids[:2, 5:] = config.pad_id
    assert max_gap(packed.pack(tower, "fp32")(ids), tower(ids)) < 1e-5
    assert unit_cosines(packed.pack(tower, "bf16")(ids), tower(ids)).min() > BF16


@pytest.mark.parametrize(("precision", "least"), [("fp32", 1 - 1e-6), ("bf16", BF16),
                                                  pytest.param("int8", INT8, marks=VNNI)])
@torch.inference_mode()
def test_packed_patches(precision, least):
    config = NaflexConfig(patch_size=4, grid=4, width=48, layers=2, heads=3, mlp_width=80)
    tower = randomise(NaflexVit(config))
    batch = PackedPatches(torch.randn(5 + 6 + 6, 48), torch.tensor([[1, 5], [2, 3], [3, 2]]))
    assert unit_cosines(packed.pack(tower, precision)(batch), tower(batch)).min() > least


@VNNI
@torch.inference_mode()
def test_a_token_in_int8_does_not_depend_on_the_others():
    linear = Int8Linear(nn.Linear(64, 32))
    tokens = torch.randn(5, 64) * torch.tensor([1e-6, 1.0, 1.0, 300.0, 0.0])[:, None]
    torch.testing.assert_close(linear(tokens), torch.cat([linear(token[None]) for token in tokens]), rtol=0, atol=0)


@VNNI
@torch.inference_mode()
def test_int8_is_the_product_of_what_was_rounded():
    """Against the same arithmetic in float64, written out: only the order of the last additions differs."""
    linear, x = nn.Linear(64, 32), torch.randn(7, 64)
    steps = (linear.weight.abs().amax(1) / 127)[:, None].double()
    weight = (linear.weight.double() / steps).round() * steps
    unit = x.abs().amax(1, keepdim=True).double() / 127
    expected = (x.double() / unit).round() * unit @ weight.T + linear.bias.double()
    assert max_gap(Int8Linear(linear)(x).double(), expected) < 1e-5

    positive, lowest = F.gelu(x * 3), -0.171
    unit = (positive.amax(1, keepdim=True).double() - lowest) / 255
    expected = ((positive.double() - lowest) / unit).round() * unit + lowest
    assert max_gap(Int8Linear(linear, lowest)(positive).double(), expected @ weight.T + linear.bias.double()) < 1e-5


@VNNI
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "quick_gelu"])
@torch.inference_mode()
def test_the_activation_is_never_below_where_its_bytes_begin(name):
    x = torch.linspace(-30, 30, 100_001)[None]
    assert max_gap(activate(x.clone(), name), activation(name)(x)) < 2e-6
    assert activation(name)(x).min() > -0.171
    mlp = Mlp(48, 80, name).requires_grad_(False)
    tokens = torch.randn(9, 48) * 4
    assert unit_cosines(Int8Mlp(mlp)(tokens), mlp(tokens)).min() > 0.999


def test_int8_is_refused_for_convolutions():
    with pytest.raises(ValueError, match="int8 is for transformers, and ResNet is convolutional"):
        packed.pack(towers()["resnet"], "int8")


def test_the_original_is_left_as_it_was():
    tower = towers()["clip"]
    before = copy.deepcopy(tower.state_dict())
    same = packed.pack(tower, "bf16")
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
    assert not any(isinstance(module, packed.PackedLinear) for module in tower.modules())
    assert same.get_parameter("position") is tower.position  # shared: a packed copy costs only its packed weights
