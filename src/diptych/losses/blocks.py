"""Products of pictures and texts in blocks, and gradients summed up over them: memory O(chunk² + (images + texts) ·
embed), whatever the batch.

A loss over blocks finds its gradients in the forward pass, while a block of logits is at hand. That costs 6 · images ·
texts · embed operations instead of the 8 of recomputing it in the backward pass, and on a ring the backward pass then
talks to nobody. Twice differentiable they are not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diptych.losses.ring import Homing, Ring

CHUNK = 1024  # the products run at full speed, and a few blocks of 4 MB stay in a processor's cache
GPU_CHUNK = 4096  # fewer, larger kernels


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Which inputs need a gradient: a locked tower saves a third of the operations."""

    image: bool = False
    text: bool = False
    scale: bool = False
    bias: bool = False

    def __bool__(self) -> bool:
        return self.image or self.text or self.scale or self.bias


class _Precomputed(torch.autograd.Function):
    """A number whose gradients are known as soon as it is."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[[Needs], tuple[Tensor, ...]], *inputs: Tensor) -> Tensor:
        loss, *gradients = compute(Needs(**dict(zip(("image", "text", "scale", "bias"), ctx.needs_input_grad[1:],
                                                    strict=False))))
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: a second derivative would silently be without us
            raise RuntimeError("this loss has a first derivative only; take the second of the plain formula instead")
        # not in place: the caller may ask again (retain_graph)
        return None, *(None if g is None else g * upstream.to(g.dtype) for g in ctx.saved_tensors)


def differentiable(compute: Callable[[Needs], tuple[Tensor | None, ...]], *inputs: Tensor) -> Float[Tensor, ""]:
    """`compute(needs)` gives the loss and one gradient (or None) for each of `inputs`: image, text, scale, bias.

    The inputs' own types decide the precision of the products, autocast or not: the caller has encoded the towers in
    bfloat16 on purpose, and hands over float32 on purpose.
    """
    with torch.autocast(inputs[0].device.type, enabled=False):
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            found = _Precomputed.apply(compute, *inputs)
            assert isinstance(found, Tensor)
            return found
        with torch.no_grad():
            loss = compute(Needs())[0]
            assert loss is not None
            return loss


def number(value: Tensor | float, image: Tensor) -> Float[Tensor, ""]:
    """A scale or a bias as a tensor: a plain number in the type of sums, a tensor as it is."""
    return value if isinstance(value, Tensor) else image.new_tensor(value, dtype=wide(image.dtype))


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type of sums: float32, or float64 for float64 inputs."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def alike(image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the more precise of their types."""
    common = torch.promote_types(image.dtype, text.dtype)
    return image.to(common), text.to(common)


def side(chunk: int | None, image: Tensor) -> int:
    """Of a block. ValueError unless it is positive; None: what suits the device."""
    if chunk is None:
        return GPU_CHUNK if image.is_cuda else CHUNK
    if chunk < 1:
        raise ValueError(f"expected a chunk of at least 1, got {chunk}")
    return chunk


def spans(count: int, chunk: int) -> Iterator[slice]:
    """0 … count in slices of `chunk`, the last one shorter."""
    for start in range(0, count, chunk):
        yield slice(start, min(start + chunk, count))


class Buffer:
    """Room for blocks of at most rows × columns, used again for each: no block waits for memory to be found."""

    def __init__(self, image: Tensor, text: Tensor, rows: int, columns: int, dtype: torch.dtype):
        self._numbers = image.new_empty(min(rows, len(image)) * min(columns, len(text)), dtype=dtype)

    def block(self, rows: int, columns: int) -> Float[Tensor, "rows columns"]:
        """A block of any numbers. It overwrites the one before."""
        return self._numbers[: rows * columns].view(rows, columns)

    def product(
        self, image: Float[Tensor, "rows embed"], text: Float[Tensor, "columns embed"]
    ) -> Float[Tensor, "rows columns"]:
        """image · textᵀ."""
        return torch.mm(image, text.T, out=self.block(len(image), len(text)))


class Gradients:
    """Sums the gradients of both sides over blocks; those of travelling texts go home round the ring.

    What is added is d loss / d logits. Multiplying by the scale waits until the end: the sum before it, dotted with
    the embeddings, is the scale's gradient, which so costs images · embed operations and not images · texts.
    """

    def __init__(self, image: Tensor, text: Tensor, ring: Ring, needs: Needs):
        self._image, self._text, self._needs = image, text, needs
        self._wide = wide(image.dtype)
        self._to_text = needs.text
        self._to_image = needs.image or (needs.scale and not needs.text)
        self._of_image = torch.zeros_like(image, dtype=self._wide) if self._to_image else None
        self._of_visitors: Tensor | None = None
        self._homing = Homing(ring)

    def stop(self) -> None:
        """Other texts have arrived."""
        self._of_visitors = torch.zeros_like(self._text, dtype=self._wide) if self._to_text else None

    def add(self, gradient: Float[Tensor, "rows columns"], rows: slice, columns: slice, visitors: Tensor) -> None:
        """Add a block, in the embeddings' type; `visitors` are the texts that `columns` counts."""
        if self._of_image is not None:
            _add_product(self._of_image[rows], gradient, visitors[columns])
        if self._of_visitors is not None:
            _add_product(self._of_visitors[columns], gradient.T, self._image[rows])

    def leave(self) -> None:
        """All blocks of these texts are done."""
        if self._of_visitors is not None:
            self._homing.add(self._of_visitors)
            self._of_visitors = None

    def finish(self, scale: Float[Tensor, ""]) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of image, text and scale, each None where it is not needed."""
        of_text = self._homing.home() if self._to_text else None
        of_scale = None
        if self._needs.scale:
            ours, summed = (self._image, self._of_image) if self._to_image else (self._text, of_text)
            assert summed is not None
            of_scale = _dot(ours, summed).to(scale.dtype)
        of_image = self._of_image if self._needs.image else None
        # in place: nobody else has these sums
        return (None if of_image is None else of_image.mul_(scale).to(self._image.dtype),
                None if of_text is None else of_text.mul_(scale).to(self._text.dtype), of_scale)


def _add_product(into: Tensor, left: Tensor, right: Tensor) -> None:
    if right.dtype == into.dtype:
        torch.addmm(into, left, right, out=into)
    else:  # products of bfloat16 are rounded once a block, their sum is not
        into.add_(torch.mm(left, right))


def _dot(a: Float[Tensor, "rows embed"], b: Float[Tensor, "rows embed"]) -> Float[Tensor, ""]:
    """Σ a · b in b's type, without a copy of the whole of `a` in it."""
    found = b.new_zeros(())
    for rows in spans(len(a), CHUNK):
        found += (a[rows].to(b.dtype) * b[rows]).sum()
    return found
