"""The symmetric softmax (InfoNCE) loss of CLIP (arXiv 2103.00020, Figure 3), in blocks.

A softmax needs its row's and its column's sum before it has a gradient, so that there are two passes over the blocks:
log-sum-exps as they accumulate (as in FlashAttention, arXiv 2205.14135, and Inf-CL, arXiv 2410.17243, and here for
columns in the same pass), then gradients. 8 · images · texts · embed operations, 2 without gradients.
"""

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diptych.losses.blocks import Buffer, Gradients, Needs, alike, differentiable, number, side, spans, wide
from diptych.losses.pairs import Cell, Labels, Matrix, Pairs, pairs
from diptych.losses.ring import Alone, Homing, Ring, total, tour


def softmax_loss(
    image: Float[Tensor, "images embed"],
    text: Float[Tensor, "texts embed"],
    logit_scale: Float[Tensor, ""] | float,
    positive: Matrix | Labels | None = None,
    *,
    ignored: Matrix | Labels | None = None,
    chunk: int | None = None,
    ring: Ring | None = None,
) -> Float[Tensor, ""]:
    """Mean of both directions' cross-entropy over unit-norm embeddings, in float32 (float64 for float64 inputs).

    With several positives the target is uniform over them (UniCL, arXiv 2204.03610). `positive`, `ignored`, `chunk`
    and `ring` are `sigmoid_loss`'s, and so is the precision; a row or column without a positive is left out of its
    direction's mean. Texts gathered from other processes lack those processes' pictures: for them, sum
    `one_way_softmax_loss` over both directions.
    """
    return _loss(image, text, logit_scale, positive, ignored, None, chunk, ring, both=True)


def one_way_softmax_loss(
    query: Float[Tensor, "queries embed"],
    key: Float[Tensor, "keys embed"],
    logit_scale: Float[Tensor, ""] | float,
    positive: Matrix | Labels | None = None,
    *,
    ignored: Matrix | Labels | None = None,
    offset: int | None = None,
    chunk: int | None = None,
    ring: Ring | None = None,
) -> Float[Tensor, ""]:
    """Mean of −log softmax over each query's keys: one direction of `softmax_loss`.

    With gathered keys, query i's is key i + `offset`. The mean of picture → text and text → picture, each with the
    other side gathered, has the value and, averaged over the processes, the gradient of `softmax_loss` on the whole
    batch, provided that the processes have equally many rows with a positive.
    """
    return _loss(query, key, logit_scale, positive, ignored, offset, chunk, ring, both=False)


def _loss(
    image: Tensor, text: Tensor, scale: Tensor | float, positive: Matrix | Labels | None,
    ignored: Matrix | Labels | None, offset: int | None, chunk: int | None, ring: Ring | None, both: bool,
) -> Float[Tensor, ""]:
    ring = ring or Alone()
    known = pairs(image, text, positive, ignored, offset, ring)
    length = side(chunk, image)
    image, text = alike(image, text)
    scale = number(scale, image)
    blocks = _Blocks(image=image, text=text, scale=scale, known=known, chunk=length, ring=ring)
    return differentiable(functools.partial(_compute, blocks, both), image, text, scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Blocks:
    """What both passes go over."""

    image: Tensor
    text: Tensor
    scale: Tensor
    known: Pairs
    chunk: int
    ring: Ring

    def buffer(self, dtype: torch.dtype) -> Buffer:
        """For one block."""
        return Buffer(self.image, self.text, self.chunk, self.chunk, dtype)

    def logits(self, product: Tensor, cell: Cell) -> Float[Tensor, "rows columns"]:
        """Scaled, in the type of sums, in `product`'s place where that has this type; −∞ where ignored."""
        found = product.to(wide(product.dtype)).mul_(self.scale)
        return found if cell.ignored is None else found.masked_fill_(cell.ignored, -math.inf)


# What a pass knows of rows, or of columns, [3, count]: log Σ exp, Σ over the positives, number of positives.
_Sums = Float[Tensor, "3 _"]


def _compute(blocks: _Blocks, both: bool, needs: Needs) -> tuple[Tensor | None, ...]:
    directions = _sums(blocks, both)
    # a mean over everyone's rows that have a positive: each process's own may be more or fewer
    counted = total(blocks.ring, torch.stack([(s[2] > 0).sum() for s in directions]))
    weights = blocks.ring.size / (len(directions) * counted.clamp(min=1).to(directions[0].dtype))
    loss = directions[0].new_zeros(())
    for sums, weight in zip(directions, weights, strict=True):
        loss += weight * (sums[0] - sums[1] / sums[2].clamp(min=1)).where(sums[2] > 0, 0).sum()
    if not needs:
        return loss, None, None, None
    folded = [_fold(sums, weight) for sums, weight in zip(directions, weights, strict=True)]
    return loss, *_gradients(blocks, weights, folded[0], folded[1] if both else None, needs)


def _sums(blocks: _Blocks, both: bool) -> list[_Sums]:
    """Pass 1: of our pictures over everyone's texts and, if `both`, of our texts over everyone's pictures."""
    image, text, chunk = blocks.image, blocks.text, blocks.chunk
    precise = wide(image.dtype)
    products, spare = blocks.buffer(image.dtype), blocks.buffer(precise)
    of_rows, homing = _nothing(image, precise), Homing(blocks.ring, _join)
    for home, (visitors, *labels) in tour(blocks.ring, text, *blocks.known.travelling):
        of_visitors = _nothing(text, precise)
        for rows in spans(len(image), chunk):
            for columns in spans(len(text), chunk):
                cell = blocks.known.cell(rows, columns, home * len(text), tuple(labels))
                logits = blocks.logits(products.product(image[rows], visitors[columns]), cell)
                sides = [(of_rows[:, rows], 1), (of_visitors[:, columns], 0)][: 1 + both]
                if cell.positive is not None:
                    matched = logits.where(cell.positive, 0)
                    for sums, dim in sides:
                        sums[1] += matched.sum(dim)
                        sums[2] += cell.positive.sum(dim)
                for sums, dim in sides:
                    last = dim == 0 or not both  # then the logits have served
                    sums[0] = torch.logaddexp(sums[0], _log_sum_exp(
                        logits, dim, logits if last else spare.block(*logits.shape)))
        if both:
            homing.add(of_visitors)
    return [of_rows, homing.home()] if both else [of_rows]


def _log_sum_exp(logits: Float[Tensor, "rows columns"], dim: int, room: Tensor) -> Float[Tensor, " kept"]:
    """torch.logsumexp that makes its terms in `room`, which may be the logits' own."""
    largest = logits.amax(dim, keepdim=True).clamp_(min=torch.finfo(logits.dtype).min)  # −∞ − −∞ is not a number
    return torch.sub(logits, largest, out=room).exp_().sum(dim).log_().add_(largest.squeeze(dim))


def _nothing(embeddings: Tensor, dtype: torch.dtype) -> _Sums:
    sums = embeddings.new_zeros((3, len(embeddings)), dtype=dtype)
    sums[0] = -math.inf
    return sums


def _join(a: _Sums, b: _Sums) -> _Sums:
    return torch.cat([torch.logaddexp(a[:1], b[:1]), a[1:] + b[1:]])


def _fold(sums: _Sums, weight: Float[Tensor, ""]) -> Float[Tensor, "2 _"]:
    """[2, count]: (s, p) such that the gradient of a row's loss is weight · exp(logit − s), less p at its positives.

    A row without a positive costs nothing: s is infinite. The weight stays out of s, which would round it.
    """
    counted = sums[2] > 0
    return torch.stack([sums[0].where(counted, math.inf), (weight / sums[2].clamp(min=1)).where(counted, 0)])


def _gradients(
    blocks: _Blocks, weights: Float[Tensor, " directions"], of_rows: Float[Tensor, "2 _"],
    of_columns: Float[Tensor, "2 _"] | None, needs: Needs,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Pass 2: the same blocks again, now that every sum is known."""
    image, text, chunk = blocks.image, blocks.text, blocks.chunk
    precise = wide(image.dtype)
    products, room = blocks.buffer(image.dtype), blocks.buffer(precise)
    gradients = Gradients(image, text, blocks.ring, needs)
    travelling = [text] if of_columns is None else [text, of_columns]
    for home, (visitors, *rest) in tour(blocks.ring, *travelling, *blocks.known.travelling):
        of_visitors, labels = (None, rest) if of_columns is None else (rest[0], rest[1:])
        gradients.stop()
        for rows in spans(len(image), chunk):
            for columns in spans(len(text), chunk):
                cell = blocks.known.cell(rows, columns, home * len(text), tuple(labels))
                logits = blocks.logits(products.product(image[rows], visitors[columns]), cell)
                gradient, pull = room.block(*logits.shape), of_rows[1, rows, None]
                torch.sub(logits, of_rows[0, rows, None], out=gradient).exp_().mul_(weights[0])
                if of_visitors is not None:
                    gradient.add_(logits.sub_(of_visitors[0, None, columns]).exp_().mul_(weights[1]))
                    pull = pull + of_visitors[1, None, columns]
                if cell.positive is not None:
                    gradient.sub_(pull * cell.positive)
                gradients.add(gradient.to(image.dtype), rows, columns, visitors)
        gradients.leave()
    return gradients.finish(blocks.scale.to(precise))
