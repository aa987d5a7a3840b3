"""The sigmoid loss in blocks against the whole matrix: values, gradients, memory, operations; the ring; Triton."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from contrastive import Largest, assert_same, embeddings, leaves, on_threads, pairs, scalar, sigmoid_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from diptych.losses.sigmoid import sigmoid_loss

sizes, chunks, seeds = st.integers(1, 7), st.integers(1, 8), st.integers(0, 999)
kinds = st.sampled_from(["labels", "matrix"])


def start(rows: int, columns: int, seed: int) -> list[torch.Tensor]:
    return leaves(embeddings(rows, seed), embeddings(columns, seed + 1), scalar(10.0), scalar(-3.0))


@settings(deadline=None, max_examples=60)
@given(rows=sizes, columns=sizes, chunk=chunks, seed=seeds, positive=kinds, ignored=kinds)
def test_blocks_are_the_matrix(rows, columns, chunk, seed, positive, ignored):
    inputs = start(rows, columns, seed)
    (told, matrix), (left_out, mask) = pairs(positive, rows, columns, seed), pairs(ignored, rows, columns, seed + 9)
    ours = sigmoid_loss(*inputs, told, ignored=left_out, chunk=chunk)
    assert_same(ours, sigmoid_matrix(*inputs, matrix, mask), inputs)


def test_a_scale_and_a_bias_that_are_plain_numbers_stand_still():
    inputs = start(5, 4, 0)
    ours = sigmoid_loss(inputs[0], inputs[1], 10.0, -3.0, torch.eye(5, 4, dtype=torch.bool))
    theirs = sigmoid_loss(*inputs, torch.eye(5, 4, dtype=torch.bool))
    assert ours == theirs
    ours.backward()
    assert inputs[0].grad is not None


@settings(deadline=None, max_examples=40)
@given(rows=sizes, more=st.integers(0, 5), data=st.data(), chunk=chunks, seed=seeds, ignored=kinds)
def test_the_diagonal_of_gathered_texts(rows, more, data, chunk, seed, ignored):
    columns = rows + more
    offset = data.draw(st.integers(0, more))
    inputs = start(rows, columns, seed)
    diagonal = torch.arange(rows)[:, None] + offset == torch.arange(columns)
    left_out, mask = pairs(ignored, rows, columns, seed)
    ours = sigmoid_loss(*inputs, ignored=left_out, offset=offset, chunk=chunk)
    assert_same(ours, sigmoid_matrix(*inputs, diagonal, mask), inputs)


@settings(deadline=None, max_examples=25)
@given(processes=st.integers(1, 4), each=st.integers(1, 4), chunk=chunks, seed=seeds,
       positive=st.sampled_from(["diagonal", "labels", "matrix"]), ignored=kinds)
def test_a_ring_is_the_matrix(processes, each, chunk, seed, positive, ignored):
    count = processes * each
    whole = start(count, count, seed)
    told, matrix = (None, torch.eye(count, dtype=torch.bool)) if positive == "diagonal" else pairs(
        positive, count, count, seed)
    left_out, mask = pairs(ignored, count, count, seed + 9)
    parts = [leaves(image, text, *(x.detach() for x in whole[2:])) for image, text in zip(
        whole[0].detach().split(each), whole[1].detach().split(each), strict=True)]

    def mine(side, rows):
        return None if side is None else tuple(s[rows] for s in side) if isinstance(side, tuple) else side[rows]

    def one(ring):
        rows = slice(ring.rank * each, (ring.rank + 1) * each)
        found = sigmoid_loss(*parts[ring.rank], mine(told, rows), ignored=mine(left_out, rows), chunk=chunk, ring=ring)
        found.backward()
        return found.detach()

    found = on_threads(processes, one)
    expected = sigmoid_matrix(*whole, matrix, mask)
    expected.backward()
    torch.testing.assert_close(torch.stack(found).mean(), expected.detach(), rtol=1e-11, atol=1e-11)
    for place, (theirs, together) in enumerate(zip(zip(*parts, strict=True), whole, strict=True)):
        grads = [tensor.grad for tensor in theirs]
        # DDP's mean over the processes: of rows that only one of them has, and of what all of them have
        ours = torch.cat(grads) / processes if place < 2 else torch.stack(grads).mean()
        torch.testing.assert_close(ours, together.grad, rtol=1e-10, atol=1e-11)


@settings(deadline=None, max_examples=40)
@given(rows=sizes, columns=st.integers(1, 12), chunk=st.integers(1, 20), seed=seeds,
       hardest=st.floats(0.05, 1), ignored=kinds)
def test_hardest_keeps_the_highest_logits(rows, columns, chunk, seed, hardest, ignored):
    """§4.8: per picture, ⌈share · negatives⌉ of its negatives."""
    inputs = start(rows, columns, seed)
    (told, matrix), (left_out, mask) = pairs("matrix", rows, columns, seed), pairs(ignored, rows, columns, seed + 9)
    logits = (inputs[0] @ inputs[1].T).detach()
    easy = torch.zeros_like(matrix)
    for i in range(rows):
        candidates = [j for j in range(columns) if not matrix[i, j] and not mask[i, j]]
        candidates.sort(key=lambda j: -float(logits[i, j]))
        easy[i, candidates[max(1, int(-((0.01 - len(candidates) * hardest) // 1))):]] = True
    ours = sigmoid_loss(*inputs, told, ignored=left_out, chunk=chunk, hardest=hardest)
    assert_same(ours, sigmoid_matrix(*inputs, matrix, mask | easy), inputs)


def test_hardest_tenth_of_thirty_is_three():
    inputs = start(1, 31, 0)
    positive = torch.arange(31)[None] == 0
    logits = (inputs[0] @ inputs[1].T).detach()[0, 1:]
    easy = torch.cat([torch.tensor([False]), logits < logits.sort(descending=True).values[2]])[None]
    assert_same(sigmoid_loss(*inputs, positive, hardest=0.1), sigmoid_matrix(*inputs, positive, easy), inputs)


def test_without_bias_and_with_a_fixed_temperature():
    image, text = leaves(embeddings(4, 0), embeddings(4, 1))
    ours = sigmoid_loss(image, text, scalar(7.0), chunk=3)
    assert_same(ours, sigmoid_matrix(image, text, scalar(7.0), scalar(0.0), torch.eye(4, dtype=torch.bool),
                                     torch.zeros(4, 4, dtype=torch.bool)), [image, text])


@pytest.mark.parametrize("learning", ["image", "text", "scale", "bias", "image scale", "text scale", "scale bias"])
def test_each_input_alone_may_learn(learning):
    inputs = [tensor.detach() for tensor in start(5, 5, 0)]
    chosen = [x.requires_grad_() for x, name in zip(inputs, ("image", "text", "scale", "bias"), strict=True)
              if name in learning.split()]
    theirs = sigmoid_matrix(*inputs, torch.eye(5, dtype=torch.bool), torch.zeros(5, 5, dtype=torch.bool))
    assert_same(sigmoid_loss(*inputs, chunk=2), theirs, chosen)


@pytest.mark.parametrize(("learning", "operations"), [("image text scale bias", 6), ("text scale bias", 4),
                                                       ("image", 4), ("bias", 2), ("", 2)])
def test_operations(learning, operations):
    """In units of images · texts · embed: 2 for the logits, 2 for each side's gradient."""
    inputs = [tensor.detach() for tensor in start(24, 24, 0)]
    for x, name in zip(inputs, ("image", "text", "scale", "bias"), strict=True):
        x.requires_grad_(name in learning.split())
    with FlopCounterMode(display=False) as counter:
        loss = sigmoid_loss(*inputs, chunk=7)
        if learning:
            loss.backward()
    assert counter.get_total_flops() == operations * 24 * 24 * 5


@pytest.mark.parametrize("extra", [{}, {"positive": (torch.arange(400), torch.arange(400))}, {"hardest": 0.3}])
def test_no_tensor_is_larger_than_a_block_or_the_embeddings(extra):
    inputs = leaves(embeddings(400, 0, 3), embeddings(400, 1, 3), scalar(10.0), scalar(-10.0))
    with Largest() as seen:
        sigmoid_loss(*inputs, chunk=40, **extra).backward()
    assert 1200 <= seen.numbers <= 1600  # 400 · 3 and 40 · 40, of a matrix of 160,000


def test_evaluation_needs_no_gradient_and_gives_the_same():
    inputs = start(5, 5, 0)
    with torch.no_grad():
        found = sigmoid_loss(*inputs)
    assert not found.requires_grad
    assert torch.equal(found, sigmoid_loss(*inputs).detach())


def test_a_second_backward_gives_the_same_and_no_second_derivative():
    image, text, scale, bias = start(3, 3, 0)
    loss = sigmoid_loss(image, text, scale, bias) * 3
    first = torch.autograd.grad(loss, image, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, image, retain_graph=True)[0])
    torch.testing.assert_close(first, 3 * torch.autograd.grad(sigmoid_loss(image, text, scale, bias), image)[0])
    with pytest.raises(RuntimeError, match="a first derivative only"):
        torch.autograd.grad(loss, image, create_graph=True)


def test_bfloat16_multiplies_in_bfloat16_and_sums_in_float32():
    """Against float64 on the same rounded embeddings. A cosine is off by up to 2⁻⁹ of itself, here a logit by up to
    0.02; the gradients' blocks and the gradients themselves are rounded to bfloat16 as well."""
    rounded = [embeddings(300, seed, 64, torch.bfloat16) for seed in (0, 1)]
    ours = leaves(*rounded, scalar(10.0, torch.float32), scalar(-5.0, torch.float32))
    exact = leaves(*(x.double() for x in rounded), scalar(10.0), scalar(-5.0))
    found = sigmoid_loss(*ours, chunk=64)
    theirs = sigmoid_matrix(*exact, torch.eye(300, dtype=torch.bool), torch.zeros(300, 300, dtype=torch.bool))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), theirs, rtol=1e-3, atol=0)
    for a, b in zip(torch.autograd.grad(found, ours), torch.autograd.grad(theirs, exact), strict=True):
        assert (a.double() - b).norm() <= 0.01 * b.norm()
    assert ours[0].dtype == torch.bfloat16


def test_float32_under_autocast_stays_float32():
    """A bias of −10 leaves bfloat16 logits too coarse to learn from."""
    inputs = leaves(*(x.detach().float() for x in start(50, 50, 0)))
    expected = sigmoid_loss(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sigmoid_loss(*inputs)
    assert_same(found, expected, inputs, 0, 0)


def test_mixed_types_take_the_more_precise():
    image, text, scale, bias = start(4, 4, 0)
    half = image.detach().bfloat16().requires_grad_()
    assert_same(sigmoid_loss(half, text, scale, bias), sigmoid_loss(half.double(), text, scale, bias), [half, text])


def test_nearly_learned_pairs_keep_their_digits():
    """Float32 with matches at a logit of 20: each costs 2e-9, which subtracting 20 from a sum of 20s would lose."""
    image = torch.eye(6)
    loss = sigmoid_loss(image, image, torch.tensor(40.0), torch.tensor(-20.0))
    exact = sigmoid_loss(image.double(), image.double(), scalar(40.0), scalar(-20.0))
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("change", "message"), [
    ({"text": embeddings(4, 1)}, "as many texts as pictures; got 4, 3"),
    ({"text": embeddings(3, 1, 6)}, "of one width, got 5 and 6"),
    ({"image": embeddings(0, 0), "text": embeddings(0, 0)}, "at least one picture"),
    ({"offset": 1}, "offset 1 puts 3 pictures outside of 3 texts"),
    ({"offset": 0, "positive": torch.eye(3, dtype=torch.bool)}, "means nothing beside `positive`"),
    ({"positive": torch.eye(4, dtype=torch.bool)}, "`positive` matrix of 3 × 3, got"),
    ({"ignored": (torch.arange(3), torch.arange(4))}, "`ignored` labels of 3 pictures and 3 texts"),
    ({"chunk": 0}, "chunk of at least 1"),
    ({"hardest": 0.0}, "above 0 and at most 1"),
])
def test_arguments_that_contradict_each_other(change, message):
    good = {"image": embeddings(3, 0), "text": embeddings(3, 1), "logit_scale": scalar(1.0), "logit_bias": scalar(0.0)}
    with pytest.raises(ValueError, match=message):
        # by the plain function: of shapes that contradict each other jaxtyping would speak first
        getattr(sigmoid_loss, "__wrapped__", sigmoid_loss)(**good | change)


def test_a_ring_has_its_own_diagonal_and_no_hardest():
    def refused(ring, **given):
        with pytest.raises(ValueError, match=r"ring finds its diagonal|gather the texts"):
            sigmoid_loss(embeddings(3, 0), embeddings(3, 1), scalar(1.0), scalar(0.0), ring=ring, **given)
        return torch.zeros(())

    on_threads(2, lambda ring: refused(ring, offset=0))
    on_threads(2, lambda ring: refused(ring, hardest=0.5))


@pytest.mark.slow
def test_the_triton_kernel_is_the_block_in_torch():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed (`pip install triton`; Linux); its interpreter needs no GPU")
    script = Path(__file__).with_name("triton_blocks.py")
    done = subprocess.run([sys.executable, script], env={**os.environ, "TRITON_INTERPRET": "1"},
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "40 blocks and 4 losses agree"
