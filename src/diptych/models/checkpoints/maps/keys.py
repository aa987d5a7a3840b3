"""Key maps: each of our tensors, where it lies in a published file and in which form; strict in both directions.

A layout is a function from a `TwoTowerConfig` to `Names`, one `Source` for every tensor of our state dict. `read` and
`write` do the rest, so that each layout is a table and nothing else. A map is a bijection: what `write` gives, `read`
takes back unchanged, to the last bit.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.config import TwoTowerConfig
from diptych.models.two_tower import TwoTower

Shape: TypeAlias = tuple[int, ...]


class Form(NamedTuple):
    """How a tensor of ours is laid out in a file: the shape it has there, and the way there and back.

    `read` gets the published tensor and the shape it has here.
    """

    shape: Callable[[Shape], Shape]
    read: Callable[[Tensor, Shape], Tensor]
    write: Callable[[Tensor], Tensor]


AS_IS = Form(lambda shape: shape, lambda there, shape: there.reshape(shape), lambda here: here)
TRANSPOSED = Form(lambda shape: shape[::-1], lambda there, _: there.T, lambda here: here.T)
"""A matrix that is applied from the right there: x @ W."""

PATCH_ROWS = Form(
    lambda shape: (shape[0], shape[1] * shape[2] * shape[3]),
    lambda there, shape: there.reshape(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2),
    lambda here: here.permute(0, 2, 3, 1).flatten(1),
)
"""The patch embedding [width, 3, p, p] as the rows of a linear layer, [width, p · p · 3] (Siglip2, NaFlex)."""


def leading(axes: int) -> Form:
    """As it is, with that many axes of length 1 in front."""
    ones = (1,) * axes
    return Form(lambda shape: ones + shape, lambda there, shape: there.reshape(shape),
                lambda here: here.reshape(ones + tuple(here.shape)))


class Source(NamedTuple):
    """Where one tensor of ours lies: under one key, or under several whose tensors we stack along the first axis.

    A key of None is not in the file and zero here (EVA's key bias). `shares` are the relative sizes of the parts,
    equal ones by default; `form` is that of each part.
    """

    keys: tuple[str | None, ...]
    form: Form = AS_IS
    shares: tuple[int, ...] | None = None

    def sizes(self, rows: int) -> list[int]:
        """Rows of each part."""
        shares = self.shares or (1,) * len(self.keys)
        return [rows * share // sum(shares) for share in shares]


Names: TypeAlias = dict[str, Source]


def one(key: str, form: Form = AS_IS) -> Source:
    """A tensor under a single key."""
    return Source((key,), form)


def affine(ours: str, theirs: str) -> Names:
    """A module's weight and bias under the same two names."""
    return {f"{ours}.{kind}": one(f"{theirs}.{kind}") for kind in ("weight", "bias")}


def read(published: Mapping[str, Tensor], names: Names, shapes: Mapping[str, Shape], layout: str,
         ignored: frozenset[str] = frozenset()) -> dict[str, Tensor]:
    """Published weights as a state dict of ours, dtypes kept. `ignored` keys are no weights (stored counters).

    CheckpointError names the first key that is missing, unknown or misshapen.
    """
    known = {key for source in names.values() for key in source.keys if key}
    if unknown := sorted(published.keys() - ignored - known):
        raise CheckpointError(f"the weights have keys that {layout} with this architecture has not: {some(unknown)}")
    return {name: _read_one(published, source, shapes[name], layout) for name, source in names.items()}


def write(ours: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """A state dict of ours under the published names; the inverse of `read`."""
    if ours.keys() != names.keys():
        raise ValueError(f"not the state dict of these towers: {some(sorted(ours.keys() ^ names.keys()))}")
    published: dict[str, Tensor] = {}
    for name, source in names.items():
        parts = [ours[name]] if len(source.keys) == 1 else ours[name].split(source.sizes(len(ours[name])))
        for key, part in zip(source.keys, parts, strict=True):
            if key is not None:
                published[key] = source.form.write(part).contiguous()
            elif part.any():
                raise ValueError(f"{name} is not zero where the layout has nothing; it cannot be written there")
    return published


def complete(names: Names, towers: TwoTowerConfig, layout: str) -> Names:
    """The names themselves. ValueError unless they are just the tensors that such towers have."""
    if other := sorted(names.keys() ^ state_shapes(towers).keys()):
        raise ValueError(f"{layout} does not hold towers of this configuration; they differ in {some(other)}")
    return names


def state_shapes(towers: TwoTowerConfig) -> dict[str, Shape]:
    """The shape of every tensor of `TwoTower(towers)`, without memory."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in TwoTower(towers).state_dict().items()}


def some(keys: list[str]) -> str:
    """The first five of them, and how many more."""
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def _read_one(published: Mapping[str, Tensor], source: Source, shape: Shape, layout: str) -> Tensor:
    sizes = [None] if len(source.keys) == 1 else source.sizes(shape[0])
    parts: list[Tensor] = []
    for key, rows in zip(source.keys, sizes, strict=True):
        here = shape if rows is None else (rows, *shape[1:])
        if key is None:
            like = parts[0] if parts else torch.empty(0)
            parts.append(torch.zeros(here, dtype=like.dtype, device=like.device))
            continue
        if key not in published:
            raise CheckpointError(f"the weights lack {key!r}, which {layout} with this architecture has")
        part, expected = published[key], source.form.shape(here)
        if tuple(part.shape) != expected and not (here == () and part.numel() == 1):
            raise CheckpointError(f"{key!r} has shape {list(part.shape)}, expected {list(expected)}")
        parts.append(source.form.read(part, here))
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous()
