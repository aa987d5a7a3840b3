"""Speed is measured for every model, tower and batch; memory and load time in a process of their own."""

import functools
import time

import numpy as np
import pytest
from PIL import Image

from diptych.evaluation.efficiency import EfficiencyConfig, footprint, rates
from fakes import ColourEmbedder, CountingEmbedder

PICTURES = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(3)]


class Slow(CountingEmbedder):
    def embed_images(self, pictures):
        time.sleep(0.01)
        return super().embed_images(pictures)


class Large(ColourEmbedder):
    """Opening it takes 200 MiB."""

    def __init__(self):
        super().__init__()
        self.weights = np.ones(200 << 17)


def test_rates_are_of_every_model_tower_and_batch():
    models = {"quick": CountingEmbedder(), "slow": Slow()}
    config = EfficiencyConfig(batches=(1, 4), rounds=5, least=2)
    found = rates(models, PICTURES, ["red", "blue"], config)
    assert {(r.what, r.batch) for r in found["quick"]} == {(w, b) for w in ("images", "texts") for b in (1, 4)}
    for rate in (*found["quick"], *found["slow"]):
        assert 0 < rate.p50_s <= rate.p95_s and rate.per_second == pytest.approx(rate.batch / rate.p50_s)
    slow = next(r for r in found["slow"] if (r.what, r.batch) == ("images", 4))
    assert slow.p50_s >= 0.01  # it sleeps as long
    assert models["quick"].pictures == 6 * (1 + 4)  # once to begin with, then five rounds


def test_a_budget_ends_it_after_the_least():
    model = Slow()
    rates({"slow": model}, PICTURES, ["red"], EfficiencyConfig(batches=(1,), rounds=1000, least=3, budget_s=0.0))
    assert model.pictures == 1 + 3


def test_nothing_to_measure_with_is_told():
    with pytest.raises(ValueError, match="at least one picture and one text"):
        rates({"quick": ColourEmbedder()}, [], ["red"], EfficiencyConfig())
    with pytest.raises(ValueError, match="batches are at least 1"):
        EfficiencyConfig(batches=(0,))


def test_memory_is_a_process_of_its_own():
    small, large = (footprint(functools.partial(kind), PICTURES, ["red"]) for kind in (ColourEmbedder, Large))
    assert small.load_s >= 0 and large.peak_memory - small.peak_memory == pytest.approx(200 << 20, rel=0.1)
