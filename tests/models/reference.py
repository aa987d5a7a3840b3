"""The reference implementations that tests compare with: open_clip and timm, imported without torchvision.

Both are installed with `--no-deps` (see the Makefile): they pin torchvision, of which there is no build for the CPU
torch that the tests use. Their models need nothing of it, only its name at import; a stub answers to that for as long
as the import takes, so that transformers does not see it afterwards.
"""

import functools
import importlib
import importlib.machinery
import sys
import types
import warnings
from enum import Enum
from unittest import mock

from torch import nn


class _Interpolation(Enum):
    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class _Stub(types.ModuleType):
    """Any name that is asked for is a class that nobody calls."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__ = []
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "InterpolationMode":
            return _Interpolation
        made = type(name, (nn.Module,), {})
        setattr(self, name, made)
        return made


_NAMES = ("torchvision", "torchvision.ops", "torchvision.ops.misc", "torchvision.transforms",
          "torchvision.transforms.functional", "torchvision.models", "torchvision.models.feature_extraction",
          "torchvision.datasets", "torchvision.utils")


def _stubbed():
    stubs: dict[str, types.ModuleType] = {name: _Stub(name) for name in _NAMES}
    for name, stub in stubs.items():  # `import torchvision.transforms.functional as F` goes by attributes
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(stubs[parent], child, stub)
    return mock.patch.dict(sys.modules, stubs)


@functools.cache
def open_clip() -> types.ModuleType:
    """The package open_clip 3.3.0, whose models and configurations are the oracle of the layouts of that name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers  # noqa: F401  # looks for torchvision when it is first imported: it must find none

        before = set(sys.modules)
        with _stubbed():
            package = importlib.import_module("open_clip")
            importlib.import_module("timm")
            fresh = {name: module for name, module in sys.modules.items() if name not in before}
        for name, module in fresh.items():  # patch.dict has taken away what was imported under the stub
            if not name.startswith("torchvision"):
                sys.modules[name] = module
    return package


@functools.cache
def timm() -> types.ModuleType:
    """The package timm 1.0.29."""
    open_clip()
    return sys.modules["timm"]
