"""The records: probabilities are a logistic curve, a fake is an Embedder, an unanswered result says so."""

import math

import pytest

from diptych.core.types import Calibration, Embedder, Hit, SearchResult
from fakes import ColourEmbedder


@pytest.mark.parametrize("cosine", [-1.0, -0.2, 0.0, 0.4, 1.0])
def test_probability_is_the_logistic_curve(cosine):
    calibration = Calibration(scale=30.0, bias=-9.0, cutoff=0.5)
    assert calibration.probability(cosine) == pytest.approx(1 / (1 + math.exp(-(30 * cosine - 9))), rel=1e-12)


def test_extremes_do_not_overflow():
    steep = Calibration(scale=1e6, bias=0.0, cutoff=0.5)
    assert steep.probability(-1.0) == 0.0 and steep.probability(1.0) == 1.0


def test_a_cutoff_is_a_probability():
    with pytest.raises(ValueError, match="between 0 and 1"):
        Calibration(scale=1, bias=0, cutoff=1.0)


def test_the_fake_is_an_embedder():
    assert isinstance(ColourEmbedder(), Embedder)


def test_a_result_is_answered_by_its_hits():
    def hit(matches):
        return Hit(id="a", uri="a", caption="", score=0.1, probability=0.1, matches=matches, ranks={})

    result = SearchResult(query="q", model_name="m", fingerprint="f", took_ms=1, total=1, hits=(hit(False),))
    assert not result.answered and len(result) == 1 and [h.id for h in result] == ["a"]
    assert SearchResult(query="q", model_name="m", fingerprint="f", took_ms=1, total=1, hits=(hit(True),)).answered
