"""Operations of a tower without weights against the formula and against a real run."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diptych.models.operations import tower_operations
from diptych.models.two_tower import TwoTower
from diptych.recipes.table import FAMILY


def test_a_transformers_operations_are_its_formula():
    image, text = tower_operations(FAMILY["siglip"]().model)
    weights = 12 * (4 * 768**2 + 2 * 768 * 3072)
    for found, tokens in ((image, 256), (text, 64)):
        attention = 12 * 4 * tokens**2 * 768
        assert 1.0 < found / (2 * tokens * weights + attention) < 1.06  # embedding, pooling and projection add some


@pytest.mark.parametrize("name", ["siglip_tiny", "mobileclip_tiny"])
def test_counting_without_contents_is_counting_with_them(name):
    config = FAMILY[name]().model
    towers = TwoTower(config)
    size = config.image.image_size
    # the math kernels are those that torch's own counter knows
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        towers.image(torch.zeros(1, 3, size, size))
        towers.text(torch.zeros(1, config.text.context_length, dtype=torch.long))
    assert sum(tower_operations(config)) == pytest.approx(counter.get_total_flops(), rel=1e-9)
