"""TorchScript archives as data: their parameters and buffers, and nothing of their code.

OpenAI's CLIP files are such archives: a zip with the module tree as a pickle (`data.pkl`), the bytes of each storage
(`data/N`) and the source of the modules' methods (`code/`). `torch.jit.load` would compile that source. Here the pickle
is read by an unpickler that can make nothing but records, the storages are taken as bytes, and of the source only the
two lines are looked at that say which attributes of a class are parameters and buffers.
"""

import pickle
import re
from collections.abc import Iterator
from typing import Any, TypeGuard
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

from diptych.core.errors import CheckpointError

_DTYPES = {
    "BFloat16Storage": torch.bfloat16, "HalfStorage": torch.float16, "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64, "ByteStorage": torch.uint8, "CharStorage": torch.int8, "ShortStorage": torch.int16,
    "IntStorage": torch.int32, "LongStorage": torch.int64, "BoolStorage": torch.bool,
}
_TENSOR = "torch._utils._rebuild_tensor_v2"
_KNOWN = frozenset({
    _TENSOR, "collections.OrderedDict", "torch.device", *(f"torch.{name}" for name in _DTYPES),
    *(f"torch.jit._pickle.{name}" for name in (
        "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")),
})
"""What TorchScript's own writer refers to, beside the classes of the module tree, which are all under `__torch__`."""

_HEAD = re.compile(r"^class (\w+)\(Module\):\n +__parameters__ = \[(.*)\]\n +__buffers__ = \[(.*)\]$", re.MULTILINE)


class Record:
    """What stands in a pickle for any class, function or module: what it was called with, and a module's attributes."""

    name = ""

    def __init__(self, *args: Any):
        self.args = args

    def __setstate__(self, attributes: dict[str, Any]):
        self.attributes = attributes


class TorchScript:
    """An open archive whose members all lie under `root` ("" or with a slash at its end)."""

    def __init__(self, archive: ZipFile, root: str):
        self.archive, self.root, self.members = archive, root, set(archive.namelist())
        self.storages: dict[str, Tensor] = {}
        self.heads: dict[str, dict[str, set[str]]] = {}

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers under their names, as `state_dict()` of the loaded module has them; dtypes kept.

        CheckpointError when the pickle refers to anything that is no module tree (nothing is run), or is damaged.
        """
        try:
            with self.archive.open(f"{self.root}data.pkl") as stream:
                tree = _Unpickler(stream).load()
            if not _is_module(tree):
                raise ValueError("its data.pkl is no module")
            return dict(self._weights(tree, ""))
        except _Code as error:
            raise CheckpointError(f"{self.archive.filename} holds code ({error}), so it is not opened; have it "
                                  "converted to safetensors by somebody who trusts it") from error
        except Exception as error:  # a damaged pickle raises whatever its operations do
            raise CheckpointError(f"{self.archive.filename} is damaged: {type(error).__name__}: {error}") from error

    def _weights(self, module: Record, prefix: str) -> Iterator[tuple[str, Tensor]]:
        declared = self._declared(module.name)
        for key, value in module.attributes.items():
            if _is_module(value):
                yield from self._weights(value, f"{prefix}{key}.")
            elif isinstance(value, Record) and (value.name == _TENSOR if declared is None else key in declared):
                yield prefix + key, self._tensor(value)

    def _declared(self, full_name: str) -> set[str] | None:
        """A class's parameters and buffers, by the head of its source. None when there is none (before torch 1.6):
        then each of its tensors counts."""
        module, _, name = full_name.rpartition(".")
        file = f"{self.root}code/{module.replace('.', '/')}.py"
        if file not in self.heads:
            source = self.archive.read(file).decode() if file in self.members else ""
            self.heads[file] = {cls: set(re.findall(r'"(.*?)"', f"{parameters} {buffers}"))
                                for cls, parameters, buffers in _HEAD.findall(source)}
        return self.heads[file].get(name)

    def _tensor(self, record: Record) -> Tensor:
        if record.name != _TENSOR:
            raise ValueError(f"a weight is a {record.name}")
        storage, offset, size, stride, *_ = record.args
        _, kind, key, _, count = storage.args
        numbers = self._storage(key, _DTYPES[kind.__name__], count)
        return torch.as_strided(numbers, size, stride, offset)  # raises where it would reach beyond the storage

    def _storage(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        if key not in self.storages:  # tied weights share one
            member = self.archive.getinfo(f"{self.root}data/{key}")
            if member.compress_type != ZIP_STORED or member.file_size != count * dtype.itemsize:
                raise ValueError(f"storage {key} is not {count} numbers of {dtype}: it has {member.file_size} bytes")
            buffer = bytearray(self.archive.read(member))  # which checks the CRC, too
            self.storages[key] = torch.frombuffer(buffer, dtype=dtype) if count else torch.empty(0, dtype=dtype)
        return self.storages[key]


def _is_module(value: Any) -> TypeGuard[Record]:
    return isinstance(value, Record) and value.name.startswith("__torch__.")


class _Code(Exception):
    """A pickle refers to this, which is no part of a module tree."""


class _Unpickler(pickle.Unpickler):
    """Knows no class and no function: every name stands for a fresh kind of `Record`, so there is nothing to call."""

    def find_class(self, module: str, name: str) -> type[Record]:
        full = f"{module}.{name}"
        if full not in _KNOWN and not full.startswith("__torch__."):
            raise _Code(full)
        return type(name, (Record,), {"name": full})

    def persistent_load(self, pid: Any) -> Record:
        return Record(*pid)
