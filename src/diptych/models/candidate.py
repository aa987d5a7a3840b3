"""A candidate: a runtime in a precision. Which there are for a model on this machine, and each as an engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch

from diptych.inputs.naflex import NaflexBatch
from diptych.models import engine, exported, int8, packed, runtime_onnx, runtime_openvino
from diptych.models.compiled import compiled
from diptych.models.config import TextConfig
from diptych.models.engine import Engine, Features, ImageFeatures, Pixels, Precision, Runtime, TextFeatures
from diptych.models.lengths import cut, visible_lengths
from diptych.models.two_tower import TwoTower

Part: TypeAlias = Literal["image", "text"]


class Candidate(NamedTuple):
    """A runtime in a precision."""

    runtime: Runtime
    precision: Precision

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


EXACT = Candidate("torch", "fp32")
EXPORTED: tuple[Runtime, ...] = ("openvino", "onnxruntime")


class Model(NamedTuple):
    """Towers, the fingerprint under which their exports lie, and the device they are to run on."""

    towers: TwoTower
    fingerprint: str
    device: torch.device


def candidates(model: Model, precision: Precision | None, runtime: Runtime | None) -> list[Candidate]:
    """What there is to choose from, given what was asked for: without a runtime, torch, and those whose files have been
    made; without a precision, float32 and bfloat16. ValueError when there is nothing."""
    if precision == "int8":
        packed.blocks_of(model.towers.image)
    if runtime is not None and precision is not None:
        return [Candidate(runtime, precision)]
    if runtime is not None:
        return [c for c in _all(model, (runtime,)) if c.precision != "int8"]
    made: list[Runtime] = [r for r in _installed() if exported.is_exported(model.fingerprint, exported.KIND[r])]
    there = _all(model, ("torch", *made) if model.device.type == "cpu" else ("torch",))
    if precision is None:
        return [c for c in there if c.precision != "int8"]
    found = [c for c in there if c.precision == precision]
    if not found and precision == "int8" and model.device.type == "cpu":  # without VNNI: those that must be exported
        found = [Candidate(r, "int8") for r in _installed()]
    return found or [Candidate("torch", precision)]  # which says why not


def everywhere(model: Model) -> list[Candidate]:
    """All that run on this CPU and are installed, int8 too, exported or not."""
    return _all(model, ("torch", *_installed()) if exported.why_not(model.towers) is None else ("torch",))


def _installed() -> list[Runtime]:
    """The runtimes of exported files whose packages are here."""
    return [r for r in EXPORTED if not exported.missing_packages(r)]


def _all(model: Model, runtimes: Sequence[Runtime]) -> list[Candidate]:
    """Those runtimes in every precision in which they are worth it."""
    cpu = model.device.type == "cpu"
    half = not cpu or engine.native_bf16()
    quantisable = cpu and packed.is_transformer(model.towers.image)
    found: list[Candidate] = []
    for runtime in runtimes:
        found.append(Candidate(runtime, "fp32"))
        if half and runtime != "onnxruntime":
            found.append(Candidate(runtime, "bf16"))
        if quantisable and runtime != "compiled" and (runtime != "torch" or int8.supported()):
            found.append(Candidate(runtime, "int8"))
    return found


def open_engine(model: Model, image: Candidate, text: Candidate) -> Engine:
    """The engine of a candidate for each tower. ValueError says why it cannot be, CheckpointError what is missing."""
    name = str(image) if image == text else f"{image}, texts {text}"
    return Engine(name=name, image_features=image_features(model, image), text_features=text_features(model, text),
                  image_block=engine.image_block(model.device))


def _check(model: Model, candidate: Candidate) -> None:
    runtime, precision = candidate
    if runtime in exported.KIND and model.device.type != "cpu":
        raise ValueError(f"runtime {runtime!r} runs on the CPU here; take device='cpu'")
    reason = exported.why_not(model.towers)
    if reason and runtime != "torch":
        raise ValueError(f"{reason}: it runs by torch only; take runtime 'torch', not {runtime!r}")
    if precision == "int8":
        packed.blocks_of(model.towers.image)


def image_features(model: Model, candidate: Candidate) -> ImageFeatures:
    """The picture tower by that candidate."""
    _check(model, candidate)
    tower, device, (runtime, precision) = model.towers.image, model.device, candidate
    dtype = torch.bfloat16 if device.type != "cpu" and precision == "bf16" else torch.float32
    if runtime == "torch":
        return engine.image_features(engine.prepared(tower, precision, device), device, dtype)
    if runtime == "compiled":
        return engine.image_features(compiled(tower, precision, device, (0,)), device, dtype)
    size = model.towers.config.image.image_size
    run = _exported(model, candidate, "image", [-1, 3, size, size])

    def features(pixels: Pixels) -> Features:
        assert not isinstance(pixels, NaflexBatch)
        return run(pixels)

    return features


def text_features(model: Model, candidate: Candidate) -> TextFeatures:
    """The text tower by that candidate."""
    _check(model, candidate)
    tower, device, (runtime, precision) = model.towers.text, model.device, candidate
    config = model.towers.config.text
    fixed = isinstance(config, TextConfig) and config.sees_padding
    if runtime == "torch":
        return engine.text_features(engine.prepared(tower, precision, device), device)
    if runtime == "compiled":
        return engine.text_features(compiled(tower, precision, device, (0,) if fixed else (0, 1)), device)
    run = _exported(model, candidate, "text", [-1, config.context_length if fixed else -1])
    if candidate == ("onnxruntime", "int8"):  # one by one, and then each as long as it is alone
        return lambda ids: np.concatenate([
            run(cut(ids[i : i + 1], int(length))) for i, length in enumerate(visible_lengths(ids, config))])
    return run


def _exported(model: Model, candidate: Candidate, part: Part, shape: list[int]) -> engine.ArrayFunction:
    runtime, precision = candidate
    exported.require(runtime)
    kind = exported.KIND[runtime]

    def open_(folder: Path) -> engine.ArrayFunction:
        path = folder / f"{part}.{exported.SUFFIX[kind]}"
        if runtime == "openvino":
            return runtime_openvino.runner(path, precision, shape)
        return runtime_onnx.runner(path, precision)

    return exported.opened(model.towers, model.fingerprint, kind, open_)
