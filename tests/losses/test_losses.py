"""The losses against their published algorithms, written out as loops; values and gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.losses.distillation import cosine_loss
from diptych.losses.sigmoid import sigmoid_loss
from diptych.losses.softmax import softmax_loss

sizes = st.integers(1, 6)


def embeddings(rows: int, seed: int, width: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, dtype=torch.float64, generator=generator), dim=-1).requires_grad_()


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def matches(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < 0.4


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    """Value and every gradient, to float64's last digits."""
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def algorithm_1(image, text, scale, bias, positive):
    """arXiv 2303.15343: −Σ_i Σ_j log sigmoid(label_ij · logit_ij) / n, label +1 on a match and −1 elsewhere."""
    total = scalar(0.0)
    for i in range(len(image)):
        for j in range(len(text)):
            logit = scale * (image[i] * text[j]).sum() + bias
            label = 1.0 if positive[i, j] else -1.0
            total = total - torch.log(1 / (1 + torch.exp(-label * logit)))
    return total / len(image)


@settings(deadline=None, max_examples=30)
@given(n=sizes, seed=st.integers(0, 999), scale=st.floats(0.5, 30), bias=st.floats(-12, 3))
def test_sigmoid_loss_is_algorithm_1(n, seed, scale, bias):
    inputs = [embeddings(n, seed), embeddings(n, seed + 1), scalar(scale), scalar(bias)]
    assert_same(sigmoid_loss(*inputs), algorithm_1(*inputs, torch.eye(n)), inputs)


@settings(deadline=None, max_examples=30)
@given(rows=sizes, columns=sizes, seed=st.integers(0, 999))
def test_sigmoid_loss_with_any_matches(rows, columns, seed):
    inputs = [embeddings(rows, seed), embeddings(columns, seed + 1), scalar(10.0), scalar(-10.0)]
    positive = matches(rows, columns, seed)
    assert_same(sigmoid_loss(*inputs, positive), algorithm_1(*inputs, positive), inputs)


def test_sigmoid_loss_stays_finite_where_the_plain_formula_overflows():
    image = embeddings(3, 0).float().detach()
    loss = sigmoid_loss(image, -image, torch.tensor(1e4), torch.tensor(0.0))
    assert torch.isfinite(loss) and loss > 9e3


def test_at_the_start_of_training_the_loss_per_picture_is_about_the_bias():
    """Scale 10 and bias −10 (SigLIP's start) make every pair a near-certain non-match: only the matches cost."""
    n = 512
    image, text = embeddings(n, 0, 256).float(), embeddings(n, 1, 256).float()
    loss = float(sigmoid_loss(image, text, torch.tensor(10.0), torch.tensor(-10.0)).detach())
    assert loss == pytest.approx(10.0, abs=0.3)


@settings(deadline=None, max_examples=30)
@given(n=sizes, seed=st.integers(0, 999), scale=st.floats(0.5, 100))
def test_softmax_loss_is_cross_entropy_both_ways(n, seed, scale):
    inputs = [embeddings(n, seed), embeddings(n, seed + 1), scalar(scale)]
    image, text, factor = inputs
    logits, target = factor * image @ text.T, torch.arange(n)
    theirs = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    assert_same(softmax_loss(*inputs), theirs, inputs)


def by_hand(image, text, scale, positive):
    """UniCL, arXiv 2204.03610, equations 2 and 3: the mean over a row's matches of −log softmax, then over rows."""

    def direction(a, b, good):
        costs = []
        for i in range(len(a)):
            logits = [scale * (a[i] * b[j]).sum() for j in range(len(b))]
            total = torch.log(torch.stack([torch.exp(logit) for logit in logits]).sum())
            chosen = [total - logits[j] for j in range(len(b)) if good[i, j]]
            if chosen:
                costs.append(torch.stack(chosen).mean())
        return torch.stack(costs).mean()

    return (direction(image, text, positive) + direction(text, image, positive.T)) / 2


@settings(deadline=None, max_examples=40)
@given(rows=sizes, columns=sizes, seed=st.integers(0, 999))
def test_softmax_loss_with_several_matches(rows, columns, seed):
    positive = matches(rows, columns, seed)
    positive[0, 0] = True  # where nothing matches there is nothing to learn, see below
    inputs = [embeddings(rows, seed), embeddings(columns, seed + 1), scalar(7.0)]
    assert_same(softmax_loss(*inputs, positive), by_hand(*inputs, positive), inputs)


def test_softmax_loss_without_any_match_is_zero():
    inputs = [embeddings(2, 0), embeddings(3, 1), scalar(7.0)]
    loss = softmax_loss(*inputs, torch.zeros(2, 3, dtype=torch.bool))
    assert float(loss.detach()) == 0.0
    assert all(float(g.abs().max()) == 0.0 for g in torch.autograd.grad(loss, inputs))


@settings(deadline=None, max_examples=20)
@given(n=st.integers(2, 6), seed=st.integers(0, 999))
def test_the_order_of_the_pairs_does_not_matter(n, seed):
    image, text, order = embeddings(n, seed), embeddings(n, seed + 1), torch.randperm(n)
    scale, bias = scalar(10.0), scalar(-10.0)
    torch.testing.assert_close(sigmoid_loss(image[order], text[order], scale, bias),
                               sigmoid_loss(image, text, scale, bias))
    torch.testing.assert_close(softmax_loss(image[order], text[order], scale), softmax_loss(image, text, scale))


def test_without_matches_as_many_texts_as_pictures_are_needed():
    image, text = embeddings(2, 0), embeddings(3, 1)
    with pytest.raises(ValueError, match="as many texts as pictures; got 3, 2"):
        sigmoid_loss(image, text, scalar(1.0), scalar(0.0))
    with pytest.raises(ValueError, match="as many texts as pictures; got 3, 2"):
        softmax_loss(image, text, scalar(1.0))


def test_cosine_loss_is_one_minus_the_mean_cosine():
    student = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    teacher = torch.tensor([[1.0, 0.0], [0.0, -5.0], [0.0, 1.0]])
    assert float(cosine_loss(student, teacher)) == pytest.approx((0 + 2 + 1 - math.sqrt(0.5)) / 3)
