"""The chunked cross-entropy against torch's on the whole matrix; the captioning loss against the mean of means."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.losses.captioning import captioning_loss, chunked_cross_entropy


def inputs(tokens: int, vocab: int, width: int, seed: int, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(tokens, width, generator=generator, dtype=torch.float64) * 3
    weight = torch.randn(vocab, width, generator=generator, dtype=torch.float64)
    targets = torch.randint(vocab, (tokens,), generator=generator)
    upstream = torch.randn(tokens, generator=generator, dtype=torch.float64)
    return features.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), targets, upstream


@settings(deadline=None, max_examples=60)
@given(tokens=st.integers(0, 9), vocab=st.integers(1, 13), width=st.integers(1, 5), chunk=st.integers(1, 15),
       smoothing=st.sampled_from([0.0, 0.1, 0.9]), ignored=st.booleans(), seed=st.integers(0, 999))
def test_in_chunks_value_and_gradients_are_torchs(tokens, vocab, width, chunk, smoothing, ignored, seed):
    features, weight, targets, upstream = inputs(tokens, vocab, width, seed)
    ignore_id = 0 if ignored else None
    ours = chunked_cross_entropy(features, weight, targets, ignore_id=ignore_id, smoothing=smoothing, chunk=chunk)
    theirs = F.cross_entropy(features @ weight.T, targets, ignore_index=-100 if ignore_id is None else ignore_id,
                             label_smoothing=smoothing, reduction="none")
    # float64: sums in another order
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    ours, theirs = ((loss * upstream).sum() for loss in (ours, theirs))  # every token with its own upstream gradient
    for a, b in zip(torch.autograd.grad(ours, (features, weight)), torch.autograd.grad(theirs, (features, weight)),
                    strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_is_as_near_to_the_truth_as_the_whole_matrix_in_bfloat16(autocast):
    exact_features, exact_weight, targets, upstream = inputs(50, 200, 16, 0)
    truth = F.cross_entropy(exact_features @ exact_weight.T, targets, reduction="none")
    true_gradients = torch.autograd.grad((truth * upstream).sum(), (exact_features, exact_weight))
    kind = torch.float32 if autocast else torch.bfloat16
    gaps = []
    for ours in (True, False):
        features, weight, *_ = inputs(50, 200, 16, 0, kind)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            if ours:
                loss = chunked_cross_entropy(features, weight, targets, chunk=33)
            else:
                loss = F.cross_entropy((features @ weight.T).float(), targets, reduction="none")
        assert loss.dtype == torch.float32
        gradients = torch.autograd.grad((loss * upstream.float()).sum(), (features, weight))
        assert all(gradient.dtype == kind for gradient in gradients)
        found = [loss, *gradients]
        gaps.append([float((a.detach().double() - b.detach()).norm() / b.detach().norm())
                     for a, b in zip(found, [truth, *true_gradients], strict=True)])
    for mine, plain in zip(*gaps, strict=True):
        assert mine < 1.2 * plain < 0.05  # eight bits round by 0.4%, and the logits are sums of 16 of their products


def test_far_logits_do_not_overflow():
    features, weight = torch.tensor([[1e4]]), torch.tensor([[1.0], [-1.0]])
    loss = chunked_cross_entropy(features, weight, torch.tensor([1]), chunk=1)
    assert float(loss) == pytest.approx(2e4)
    assert float(chunked_cross_entropy(features, weight, torch.tensor([0]), chunk=1)) == 0.0


def test_frozen_inputs_get_no_gradient_and_the_others_theirs():
    features, weight, targets, _ = inputs(5, 7, 3, 0)
    both = torch.autograd.grad(chunked_cross_entropy(features, weight, targets).sum(), (features, weight))
    alone = torch.autograd.grad(chunked_cross_entropy(features, weight.detach(), targets).sum(), features)[0]
    table = torch.autograd.grad(chunked_cross_entropy(features.detach(), weight, targets).sum(), weight)[0]
    assert torch.equal(both[0], alone) and torch.equal(both[1], table)


def test_the_matrix_of_tokens_and_vocabulary_is_never_there():
    """Storages that live at once during forward and backward: none as large as the matrix, nor together."""
    tokens, vocab, width, chunk = 256, 512, 4, 64
    features, weight, targets, _ = inputs(tokens, vocab, width, 0, torch.float32)

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, torch.Tensor):
                    self.seen = max(self.seen, tensor.untyped_storage().nbytes())
            return out

    with Largest() as largest:
        chunked_cross_entropy(features, weight, targets, chunk=chunk).sum().backward()
        ours = largest.seen
        F.cross_entropy(features @ weight.T, targets).backward()
    assert largest.seen == tokens * vocab * 4
    assert ours <= max(chunk * chunk, vocab * width) * 4


def test_captions_count_alike_whatever_their_length():
    """Two captions of 1 and 3 tokens after their prefixes: the mean of the two means, written out, in float64."""
    torch.manual_seed(0)
    states = torch.randn(3, 6, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([[4, 5, 8, 0, 0, 0], [2, 3, 4, 5, 1, 0], [7, 7, 0, 0, 0, 0]])
    prefix = torch.tensor([2, 2, 2])  # nothing is left of the third
    ours = captioning_loss(states, weight, ids, pad_id=0, prefix=prefix, chunk=2)
    cost = -(states @ weight.T).log_softmax(-1)
    first = cost[0, 2, 8]
    second = (cost[1, 2, 4] + cost[1, 3, 5] + cost[1, 4, 1]) / 3
    theirs = (first + second) / 3
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0.0)
    for a, b in zip(torch.autograd.grad(ours, (states, weight)), torch.autograd.grad(theirs, (states, weight)),
                    strict=True):
        torch.testing.assert_close(a, b)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), ranks=st.sampled_from([2, 4]))
def test_the_mean_of_the_ranks_losses_is_the_loss_of_the_batch(seed, ranks):
    generator = torch.Generator().manual_seed(seed)
    states, weight = torch.randn(8, 5, 4, generator=generator).double(), torch.randn(6, 4, generator=generator).double()
    ids = torch.randint(6, (8, 5), generator=generator)  # 0 is padding
    whole = captioning_loss(states, weight, ids, pad_id=0)
    parts = [captioning_loss(s, weight, i, pad_id=0)
             for s, i in zip(states.chunk(ranks), ids.chunk(ranks), strict=True)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_without_a_counted_token_the_loss_is_zero_and_has_gradients():
    states, weight = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = captioning_loss(states, weight, torch.zeros(2, 3, dtype=torch.long), pad_id=0)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not states.grad.any() and not weight.grad.any()


def test_what_cannot_be_is_refused():
    features, weight, targets, _ = inputs(3, 4, 2, 0)
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\), got 1.0"):
        chunked_cross_entropy(features, weight, targets, smoothing=1.0)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        chunked_cross_entropy(features, weight, targets, chunk=0)
    with pytest.raises(ValueError, match=r"targets must be in \[0, 4\), the rows of the table; got -1 to 4"):
        chunked_cross_entropy(features, weight, torch.tensor([-1, 4, 0]))
