"""The pairwise sigmoid loss of SigLIP (arXiv 2303.15343, Algorithm 1), in blocks.

Every pair is a decision of its own, so that a block of logits gives its loss and its gradient at once and can be
forgotten. The published formula has the opposite sign on the bias; this follows the algorithm, as big_vision does.
"""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diptych.losses.blocks import Buffer, Gradients, Needs, alike, differentiable, number, side, spans, wide
from diptych.losses.pairs import Cell, Labels, Matrix, Pairs, pairs
from diptych.losses.ring import Alone, Ring, tour

# (products, scale, bias, cell, gradient) -> (loss, gradient of the bias); the products become the gradient
Block = Callable[[Tensor, Tensor, Tensor, Cell, bool], tuple[Tensor, Tensor]]


def sigmoid_loss(
    image: Float[Tensor, "images embed"],
    text: Float[Tensor, "texts embed"],
    logit_scale: Float[Tensor, ""] | float,
    logit_bias: Float[Tensor, ""] | float | None = None,
    positive: Matrix | Labels | None = None,
    *,
    ignored: Matrix | Labels | None = None,
    offset: int | None = None,
    chunk: int | None = None,
    ring: Ring | None = None,
    hardest: float | None = None,
) -> Float[Tensor, ""]:
    """−Σ log σ(±(scale · cos + bias)) / images over unit-norm embeddings, in float32 (float64 for float64 inputs).

    `logit_scale` is already exponentiated; without `logit_bias` the bias is 0; plain numbers do not learn. `positive`
    is a matrix that says whether text j is true of picture i, or integer labels (of pictures, of texts) that are equal
    where it is; None is the diagonal, and of gathered texts the one that begins at `offset`. `ignored`, alike, leaves
    pairs out, unless they are positive. `hardest` keeps that share of each picture's negatives, those with the highest
    logits, and those that tie with the last of them (§4.8).

    `ring`: `text` and its labels are this process's, as many as on every other, and the loss is that of its pictures
    with everyone's texts; a matrix has a column for each of everyone's texts, by rank. The mean of the processes'
    losses is the loss of the whole batch, and the mean of their gradients (DDP's) is its gradient, provided that all
    weigh the loss alike. Gathered texts (`training.collectives.all_gather`) do the same in more memory.

    Logits are taken `chunk` × `chunk` at a time: None is 1,024, on a GPU 4,096; with `hardest`, all of a picture's, of
    fewer pictures. bfloat16 embeddings multiply in bfloat16: a cosine is then good to 2⁻⁹ of itself.
    """
    ring = ring or Alone()
    known = pairs(image, text, positive, ignored, offset, ring)
    length = side(chunk, image)
    image, text = alike(image, text)
    if hardest is not None:
        if not 0 < hardest <= 1:
            raise ValueError(f"expected `hardest` to be a share, above 0 and at most 1; got {hardest}")
        if ring.size > 1:
            raise ValueError("`hardest` compares all of a picture's texts, and on a ring they come one process at a "
                             "time; gather the texts (training.collectives.all_gather) and give their `offset`")
    scale = number(logit_scale, image)
    bias = None if logit_bias is None else number(logit_bias, image)
    compute = functools.partial(_compute, image, text, scale, bias, known, length, ring, hardest)
    return differentiable(compute, image, text, scale, *([] if bias is None else [bias]))


def _compute(
    image: Tensor, text: Tensor, scale: Tensor, bias: Tensor | None, known: Pairs, chunk: int, ring: Ring,
    hardest: float | None, needs: Needs,
) -> tuple[Tensor | None, ...]:
    precise = wide(image.dtype)
    zero = image.new_zeros((), dtype=precise)
    factor, shift = scale.to(precise), zero if bias is None else bias.to(precise)
    height, width = chunk, chunk
    block = _block_of(image)
    if hardest is not None:
        height, width = max(1, chunk * chunk // max(1, len(text))), max(1, len(text))
        block = functools.partial(torch_block, hardest=hardest)
    buffer, gradients = Buffer(image, text, height, width, image.dtype), Gradients(image, text, ring, needs)
    loss, of_bias = zero.clone(), zero.clone()
    for home, (visitors, *labels) in tour(ring, text, *known.travelling):
        gradients.stop()
        for rows in spans(len(image), height):
            for columns in spans(len(text), width):
                product = buffer.product(image[rows], visitors[columns])
                cell = known.cell(rows, columns, home * len(text), tuple(labels))
                part, bias_part = block(product, factor, shift, cell, bool(needs))
                loss += part
                of_bias += bias_part
                if needs:
                    gradients.add(product, rows, columns, visitors)
        gradients.leave()
    # per image, not per pair: images × texts would shrink the gradient as the batch grows
    found = gradients.finish(factor)
    every = (*found, of_bias.to(bias.dtype) if bias is not None and needs.bias else None)
    return loss / len(image), *(None if g is None else g.div_(len(image)) for g in every[: 3 if bias is None else 4])


def torch_block(
    product: Float[Tensor, "rows columns"], scale: Float[Tensor, ""], bias: Float[Tensor, ""], cell: Cell,
    gradient: bool, hardest: float | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """A block's loss and the sum of its gradient; with `gradient`, `product` becomes d loss / d logits.

    `hardest` needs all of a picture's pairs in the block.
    """
    logits = product if product.dtype == scale.dtype else product.to(scale.dtype)
    logits.mul_(scale).add_(bias)
    ignored = cell.ignored
    if hardest is not None:
        ignored = _easy(logits, cell, hardest)
    if ignored is not None:
        logits.masked_fill_(ignored, -math.inf)
    # a positive's logit changes its sign, so that nothing large is subtracted from something large
    sign = None if cell.positive is None else torch.ones_like(logits).masked_fill_(cell.positive, -1)
    if sign is not None:
        logits.mul_(sign)
    loss = F.softplus(logits, threshold=40).sum()  # the usual threshold of 20 shows in float64
    if not gradient:
        return loss, loss.new_zeros(())
    logits.sigmoid_()
    if sign is not None:
        logits.mul_(sign)
    if logits is not product:
        product.copy_(logits)
    return loss, logits.sum()


def _easy(logits: Float[Tensor, "rows texts"], cell: Cell, hardest: float) -> Tensor:
    """What is ignored already, and the negatives outside of each row's hardest share (at least one stays)."""
    taken = torch.zeros_like(logits, dtype=torch.bool)
    for mask in (cell.positive, cell.ignored):
        if mask is not None:
            taken |= mask
    negatives = logits.masked_fill(taken, -math.inf)
    # 0.1 of 30 is 3, whatever float32 makes of it
    kept = torch.ceil((~taken).sum(dim=1) * hardest - 0.01).long().clamp(min=1)
    weakest = negatives.sort(dim=1, descending=True).values.gather(1, kept[:, None] - 1)
    easy = (negatives < weakest) & ~taken
    return easy if cell.ignored is None else easy | cell.ignored


def _block_of(image: Tensor) -> Block:
    return (_fused() if image.is_cuda and image.dtype != torch.float64 else None) or torch_block


@functools.cache
def _fused() -> Block | None:
    """One kernel for the block, where Triton is installed."""
    try:
        from diptych.losses.triton_sigmoid import fused_block
    except ImportError:
        return None
    return fused_block
