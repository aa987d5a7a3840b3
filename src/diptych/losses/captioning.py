"""What a captioning decoder is trained with: cross-entropy over a large vocabulary, and which tokens it counts.

CapPa (arXiv 2306.07915), LocCa (arXiv 2403.19596), SigLIP 2 (arXiv 2502.14786, decoder branch). A caption of 64 tokens
over Gemma's 256,000 pieces is 65 MB of float32 logits, a batch of 512 is 34 GB. The logits are therefore made in
blocks, and made again for the gradients. Scheduled sampling and sequence-level losses are not here.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 4096
"""Tokens, and pieces of the vocabulary, of a block of logits: 64 MB in float32."""


def captioning_loss(
    states: Float[Tensor, "batch len width"],
    weight: Float[Tensor, "vocab width"],
    ids: Int[Tensor, "batch len"],
    *,
    pad_id: int,
    prefix: Int[Tensor, " batch"] | None = None,
    smoothing: float = 0.0,
    chunk: int = CHUNK,
) -> Float[Tensor, ""]:
    """Mean over the pictures of the mean cross-entropy of a caption's tokens.

    `states[:, t]` are the decoder's where it predicts `ids[:, t]` (`models.decoder.Decoder`), `weight` is its output
    table. Padding is not counted, nor are the first `prefix` tokens of a text, which say what is asked for: "Cap:",
    "ARef: {caption} :" (`data.regions`). A text of which nothing counts costs 0 and is still one of the pictures.

    The mean is taken in each caption first, as big_vision does (`weighted_softmax_xent`): a long caption weighs no more
    than a short one, and the mean of the ranks' losses is the loss of the whole batch. ValueError for a `smoothing`
    outside [0, 1), for a `chunk` below 1, and for ids that are not in the table.
    """
    counted = ids != pad_id
    if prefix is not None:
        counted &= torch.arange(ids.shape[1], device=ids.device) >= prefix[:, None]
    # most of a batch is padding: only the tokens that count are multiplied with the table
    losses = chunked_cross_entropy(states[counted], weight, ids[counted], smoothing=smoothing, chunk=chunk)
    said = counted.sum(dim=1)
    share = said.clamp(min=1).to(losses.dtype).reciprocal()
    return (losses * share.repeat_interleave(said)).sum() / max(1, len(ids))


def chunked_cross_entropy(
    features: Float[Tensor, "tokens width"],
    weight: Float[Tensor, "vocab width"],
    targets: Int[Tensor, " tokens"],
    *,
    ignore_id: int | None = None,
    smoothing: float = 0.0,
    chunk: int = CHUNK,
) -> Float[Tensor, " tokens"]:
    """−log softmax(features · weightᵀ)[targets], one for each token, without the matrix of tokens × vocab.

    A token whose target is `ignore_id` costs 0. With `smoothing` s the target is 1 − s there and s / vocab everywhere,
    as `torch.nn.functional.cross_entropy` has it. Logits are made in blocks of `chunk` × `chunk` and forgotten; the
    backward pass makes them again: 8 · tokens · vocab · width operations instead of 6, and memory for O(chunk²) logits
    beside the inputs and their gradients. Products are in the inputs' type (autocast's, if it is on), sums in float32,
    or float64 if the inputs are. Second derivatives are not defined. ValueError as in `captioning_loss`.
    """
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    counted = None
    if ignore_id is not None:
        counted = targets != ignore_id
        features, targets = features[counted], targets[counted]
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < len(weight):
        raise ValueError(f"targets must be in [0, {len(weight)}), the rows of the table; got "
                         f"{int(targets.min())} to {int(targets.max())}")
    device = features.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        features, weight = features.to(dtype), weight.to(dtype)
    found = _CrossEntropy.apply(features, weight, targets, smoothing, chunk)
    assert isinstance(found, Tensor)
    if counted is None:
        return found
    return found.new_zeros(counted.shape).masked_scatter(counted, found)


class _CrossEntropy(torch.autograd.Function):
    """Blocks of logits: their log-sum-exp forward, softmax − target backward."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, features: Tensor, weight: Tensor, targets: Tensor, smoothing: float, chunk: int
    ) -> Tensor:
        wide = _wide(features.dtype)
        lse = features.new_full(targets.shape, -math.inf, dtype=wide)
        at_target = torch.zeros_like(lse)
        with torch.autocast(features.device.type, enabled=False):
            for tokens in _slices(len(features), chunk):
                for pieces in _slices(len(weight), chunk):
                    logits = (features[tokens] @ weight[pieces].T).to(wide)
                    lse[tokens] = torch.logaddexp(lse[tokens], logits.logsumexp(dim=1))
                    here, column = _inside(targets[tokens], pieces)
                    found = logits.gather(1, column[:, None])[:, 0]
                    at_target[tokens] = torch.where(here, found, at_target[tokens])
            losses = lse - (1.0 - smoothing) * at_target
            if smoothing:  # the mean of a token's logits is its product with the table's mean row
                losses -= smoothing * (features.to(wide) @ weight.mean(dim=0, dtype=wide))
        ctx.save_for_backward(features, weight, targets, lse)
        ctx.smoothing, ctx.chunk = smoothing, chunk
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        features, weight, targets, lse = ctx.saved_tensors
        for_features, for_weight = ctx.needs_input_grad[:2]
        wide = _wide(features.dtype)
        d_features = torch.zeros_like(features, dtype=wide) if for_features else None
        d_weight = torch.empty_like(weight) if for_weight else None
        with torch.autocast(features.device.type, enabled=False):
            for pieces in _slices(len(weight), ctx.chunk):
                table = weight[pieces]
                d_table = torch.zeros_like(table, dtype=wide) if for_weight else None
                for tokens in _slices(len(features), ctx.chunk):
                    rows = features[tokens]
                    block = (rows @ table.T).to(wide)
                    block.sub_(lse[tokens, None]).exp_()
                    if ctx.smoothing:
                        block.sub_(ctx.smoothing / len(weight))
                    here, column = _inside(targets[tokens], pieces)
                    hit = here.to(wide).mul_(ctx.smoothing - 1.0)
                    block.scatter_add_(1, column[:, None], hit[:, None])
                    narrow = block.mul_(upstream[tokens, None]).to(features.dtype)
                    if d_features is not None:
                        d_features[tokens] += narrow @ table
                    if d_table is not None:
                        d_table += narrow.T @ rows
                if d_weight is not None and d_table is not None:
                    d_weight[pieces] = d_table.to(weight.dtype)
        return None if d_features is None else d_features.to(features.dtype), d_weight, None, None, None


def _wide(dtype: torch.dtype) -> torch.dtype:
    """What sums are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _slices(length: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, length)) for start in range(0, length, chunk)]


def _inside(targets: Int[Tensor, " tokens"], pieces: slice) -> tuple[Tensor, Tensor]:
    """Which targets are among these pieces, and their column there (0 for the others)."""
    here = (targets >= pieces.start) & (targets < pieces.stop)
    return here, (targets - pieces.start).where(here, 0)
