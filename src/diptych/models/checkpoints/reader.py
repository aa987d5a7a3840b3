"""Files of weights as plain tensors: safetensors (whole or in shards), PyTorch's `.pt` and `.bin`, numpy's `.npz`.

No file is ever executed: pickles are read by PyTorch's unpickler of weights only, TorchScript archives (OpenAI's) as
data, arrays without objects. A file with anything else in it is refused. Tensors keep their dtypes, and lie in memory
as mapped files where the kind allows it.
"""

import json
import pickle
import pickletools
import re
import zipfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.maps.keys import some
from diptych.models.checkpoints.torchscript import TorchScript

_NESTED = ("state_dict", "model_state_dict", "model", "module")
"""Where training files keep the weights, beside the optimizer's state and the epoch."""

_PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""

_ZIP, _LEGACY = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files begin that torch.save has written since version 1.6, and before."""

_INDEX = ".index.json"


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file, by name, on the CPU; prefixes of training wrappers are taken off.

    `path` may be the index of a file in shards, `model.safetensors.index.json`, or the whole name when only that index
    and the shards are there. CheckpointError says what is wrong: no such file, only a part of one, of another kind,
    or one that holds code.
    """
    path = Path(path)
    index = path if path.name.endswith(_INDEX) else path.with_name(path.name + _INDEX)
    sharded = index.is_file() and (index == path or not path.exists())
    try:
        return strip_prefixes(_read_shards(index) if sharded else _read_file(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def strip_prefixes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without `module.` and `_orig_mod.` at the beginning, in any order, where every name has them."""
    stripped = dict(weights)
    while prefix := next((p for p in _PREFIXES if stripped and all(name.startswith(p) for name in stripped)), None):
        stripped = {name.removeprefix(prefix): tensor for name, tensor in stripped.items()}
    return stripped


def check_finite(weights: Mapping[str, Tensor], path: str | Path) -> None:
    """CheckpointError names the first tensor with an infinite value, or one that is not a number."""
    for name, tensor in weights.items():
        # the extremes are infinite or nan when any value is, and cost no copy of the tensor as isfinite(…).all() does
        if tensor.is_floating_point() and tensor.numel() and not torch.isfinite(torch.stack(tensor.aminmax())).all():
            half = "; such values do not fit into half precision: take the float32 file, if there is one"
            raise CheckpointError(f"{path}: {name!r} has values that are not finite"
                                  + (half if tensor.dtype == torch.float16 else ""))


def _read_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        what = "is a folder: name the file of weights in it" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {what}; `diptych models pull NAME` gets a model of the catalogue")
    with path.open("rb") as stream:
        head = stream.read(200)
    if head.startswith(b"version https://git-lfs"):
        size = re.search(rb"size (\d+)", head)
        raise CheckpointError(f"{path} is not whole: it is Git LFS's pointer to a file of "
                              f"{int(size[1]) if size else 0:,} bytes; run `git lfs pull`, or pull it again")
    if not head:
        raise CheckpointError(f"{path} is not whole: it is empty; pull it again")
    match path.suffix:
        case ".safetensors":
            return _read_safetensors(path, head)
        case ".pt" | ".pth" | ".bin" | ".ckpt":
            return _read_torch(path, head)
        case ".npz":
            return _read_npz(path, head)
    raise CheckpointError(f"{path} is of no kind that is read: .safetensors, .pt, .pth, .bin, .ckpt or .npz")


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        where: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {file: Path(file).name for file in sorted(set(where.values()))}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is not an index of shards: {error!r}") from error
    weights: dict[str, Tensor] = {}
    for file, name in files.items():
        if name != file:
            raise CheckpointError(f"{index} names {file!r}, which does not lie beside it")
        shard = _read_file(index.with_name(file))
        if other := sorted(shard.keys() ^ {key for key, its in where.items() if its == file}):
            raise CheckpointError(f"{index.with_name(file)} and {index.name} do not agree about {some(other)}")
        weights |= shard
    return weights


def _read_safetensors(path: Path, head: bytes) -> dict[str, Tensor]:
    length, size = int.from_bytes(head[:8], "little"), path.stat().st_size
    if head[8:9] != b"{" and size > 8:
        raise _wrong_kind(path, "safetensors", head)
    if size < 8 + length:
        raise _part(path, f"more than {8 + length:,}")
    try:
        with path.open("rb") as stream:
            header: dict[str, Any] = json.loads(stream.read(8 + length)[8:])
        end = max((about["data_offsets"][1] for key, about in header.items() if key != "__metadata__"), default=0)
        if size < 8 + length + end:
            raise _part(path, f"{8 + length + end:,}")
        return load_file(path)
    except CheckpointError:
        raise
    except Exception as error:  # safetensors' own error, or whatever a damaged header leads to
        raise CheckpointError(f"{path} is damaged: {error}; pull it again") from error


def _read_torch(path: Path, head: bytes) -> dict[str, Tensor]:
    if head.startswith(_ZIP):
        with _open_zip(path) as archive:
            members = set(archive.namelist())
            root = next((m[1] for name in members if (m := re.fullmatch(r"((?:[^/]+/)?)data\.pkl", name))), None)
            if root is None:
                raise CheckpointError(f"{path} is a zip file, but none that torch.save has written")
            if f"{root}constants.pkl" in members:
                return TorchScript(archive, root).weights()
    elif _LEGACY.startswith(head[: len(_LEGACY)]):  # shorter, when it was cut off
        _check_pickles(path)
    elif head.startswith(b"\x80"):
        raise CheckpointError(f"{path} is a pickle that torch.save has not written: it may hold code, so it is not "
                              "opened; have it converted to safetensors by somebody who trusts it")
    else:
        raise _wrong_kind(path, "PyTorch", head)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=head.startswith(_ZIP))
    except pickle.UnpicklingError as error:
        if refers := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise CheckpointError(f"{path} holds code ({refers[1]}), so it is not opened; have it converted to "
                                  "safetensors by somebody who trusts it") from error
        raise CheckpointError(f"{path} is damaged, or not whole: {error}; pull it again") from error
    except Exception as error:  # a damaged pickle raises whatever its operations do
        raise CheckpointError(f"{path} is damaged, or not whole ({path.stat().st_size:,} bytes are here): {error!r}; "
                              "pull it again") from error
    return _state_dict(loaded, path)


def _check_pickles(path: Path) -> None:
    """A file of before version 1.6 begins with five pickles. The name that one was cut off in would be taken for one
    that is not allowed, so they are looked through first."""
    with path.open("rb") as stream:
        try:
            for _ in range(5):
                deque(pickletools.genops(stream), maxlen=0)
        except Exception as error:  # each operation has its own ways to end early
            raise _part(path, "more, or it is damaged") from error


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    for _ in _NESTED:  # not `while`: a pickle may nest a dictionary in itself
        inner = (loaded[key] for key in _NESTED if key in loaded) if isinstance(loaded, Mapping) else ()
        loaded = next((value for value in inner if isinstance(value, Mapping)), loaded)
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{path} holds no weights by name, but a {type(loaded).__name__}")
    if other := sorted(str(key) for key, value in loaded.items() if not isinstance(value, Tensor)):
        raise CheckpointError(f"{path} holds what are no tensors: {some(other)}; weights are expected at the top, or "
                              f"under {', '.join(_NESTED)}")
    return {str(key): value.detach() for key, value in loaded.items()}


def _read_npz(path: Path, head: bytes) -> dict[str, Tensor]:
    if not head.startswith(_ZIP):
        raise _wrong_kind(path, "numpy .npz", head)
    _open_zip(path).close()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _tensor(arrays[name]) for name in arrays.files}
    except Exception as error:  # zlib, zipfile and numpy each have their own
        if "allow_pickle" in str(error):
            raise CheckpointError(f"{path} holds code (pickled objects), so it is not opened; have it saved as plain "
                                  "arrays by somebody who trusts it") from error
        raise CheckpointError(f"{path} is damaged: {error!r}; pull it again") from error


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:  # numpy has no bfloat16; JAX's is saved as two raw bytes
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:  # its table of contents comes last
        raise _part(path, "more") from error


def _part(path: Path, expected: str) -> CheckpointError:
    return CheckpointError(f"{path} is not whole: {path.stat().st_size:,} bytes are here, and it has {expected}; "
                           "pull it again")


def _wrong_kind(path: Path, kind: str, head: bytes) -> CheckpointError:
    return CheckpointError(f"{path} is not a {kind} file: it begins with {head[:24]!r}")
