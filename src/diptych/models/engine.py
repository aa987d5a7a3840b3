"""What computes: numpy in, numpy features out, in one precision by one runtime. The torch runtime is here.

An engine knows neither pictures nor texts, only pixels and ids; `embedder.py` is between it and people. On a CPU the
torch runtime runs packed towers (`packed.py`); in bfloat16, what cannot be packed runs under autocast. On a GPU the
weights are in the precision asked for. ONNX Runtime and OpenVINO are in files of their own.
"""

import copy
import ctypes
import functools
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from diptych.inputs.naflex import NaflexBatch
from diptych.models import int8, packed
from diptych.models.efficientnet import EfficientNet
from diptych.models.fastvit import FastVit
from diptych.models.layers import channels_last
from diptych.models.naflex import PackedPatches
from diptych.models.resnet import ResNet

Precision: TypeAlias = Literal["fp32", "bf16", "int8"]
Runtime: TypeAlias = Literal["torch", "compiled", "openvino", "onnxruntime"]

Pixels: TypeAlias = Float32[np.ndarray, "n 3 height width"] | NaflexBatch
Ids: TypeAlias = Int64[np.ndarray, "n len"]
Features: TypeAlias = Float32[np.ndarray, "n dim"]

ImageFeatures: TypeAlias = Callable[[Pixels], Features]
TextFeatures: TypeAlias = Callable[[Ids], Features]
ArrayFunction: TypeAlias = Callable[[np.ndarray], Features]

Run: TypeAlias = Callable[[Tensor | PackedPatches], Tensor]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Two functions and what they are, for people: "torch bf16". Features are not of unit norm.

    `image_features` takes normalised pixels, or packed patches where the tower takes those, and works best on
    `image_block` pictures at a time; `text_features` takes ids, which may be shorter than the context where the tower
    does not see its padding.
    """

    name: str
    image_features: ImageFeatures
    text_features: TextFeatures
    image_block: int


def live(image: nn.Module, text: nn.Module) -> Engine:
    """Float32 by the modules themselves, so that it follows them while they are trained."""
    device = torch.device("cpu")
    return Engine(name="torch fp32", image_features=image_features(image, device),
                  text_features=text_features(text, device), image_block=image_block(device))


def image_block(device: torch.device) -> int:
    """Pictures at a time: few enough for a CPU's cache and enough for all its threads. GPUs want many."""
    return min(32, max(8, torch.get_num_threads())) if device.type == "cpu" else 64


def image_features(run: Run, device: torch.device, dtype: torch.dtype = torch.float32) -> ImageFeatures:
    """A torch function of pixels of that type, or of packed patches, as an engine's."""

    @torch.inference_mode()
    def features(pixels: Pixels) -> Features:
        if isinstance(pixels, NaflexBatch):
            patches = _to(torch.from_numpy(pixels.patches), device, dtype)
            return run(PackedPatches(patches, torch.from_numpy(pixels.grids))).float().cpu().numpy()
        batch = _to(torch.from_numpy(pixels), device, dtype).contiguous(memory_format=torch.channels_last)
        return run(batch).float().cpu().numpy()

    return features


def text_features(run: Run, device: torch.device) -> TextFeatures:
    """A torch function of ids as an engine's."""

    @torch.inference_mode()
    def features(ids: Ids) -> Features:
        return run(_to(torch.from_numpy(ids), device, torch.long)).float().cpu().numpy()

    return features


def prepared(tower: nn.Module, precision: Precision, device: torch.device) -> Run:
    """The tower as the torch runtime runs it. ValueError when it cannot, there, in that precision."""
    if device.type != "cpu":
        if precision == "int8":
            raise ValueError("int8 runs on a CPU only; take precision 'bf16' on a GPU")
        return copy.deepcopy(tower).eval().to(device, torch.bfloat16 if precision == "bf16" else torch.float32)
    channels_last(tower)
    keep_freed_memory()
    convolutional = isinstance(tower, EfficientNet | ResNet | FastVit)
    if precision == "int8" and not (packed.available() and int8.supported()):
        raise ValueError("int8 by torch needs oneDNN and a processor with AVX-512 VNNI; take precision 'fp32' or "
                         "'bf16', or runtime 'onnxruntime'")
    if precision == "bf16" and (convolutional or not native_bf16() or not packed.available()):
        return autocast(tower)
    return packed.pack(tower, precision) if packed.available() else tower


def autocast(tower: nn.Module) -> Run:
    """The tower with its matrix products and convolutions in bfloat16, and their results too."""

    def run(inputs: Tensor | PackedPatches) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return tower(inputs)

    return run


def native_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 itself."""
    return bool(torch.cpu._is_avx512_bf16_supported())


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep 256 MB that was freed, for the next batch, instead of giving it back to the kernel at once.

    Activations of some megabytes are freed and allocated hundreds of times a batch; each time the kernel would have to
    clear their pages again. EfficientNet in batches of 8 is 1.5 times as fast. $MALLOC_… settings are left alone.
    """
    if platform.libc_ver()[0] == "glibc" and not any(name.startswith("MALLOC_") for name in os.environ):
        libc, trim_threshold, mmap_threshold = ctypes.CDLL(None), -1, -3  # of malloc.h
        libc.mallopt(mmap_threshold, 64 << 20)
        libc.mallopt(trim_threshold, 256 << 20)


def _to(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # a copy from pinned memory does not hold the CPU up
    return tensor.to(device, dtype, non_blocking=True)
