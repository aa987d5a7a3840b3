"""How a model runs: an engine beside its towers, tokenizer and preprocessing, the one asked for or the best here.

With neither precision nor runtime it is the fastest on this machine whose vectors keep a cosine of 0.9999 with float32
(`choice.py`). What needs no export is always a candidate, exported engines once they are there: `tune` makes and
measures them all. Small models are not measured, they run in float32. Int8 is not chosen unless it is asked for.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from diptych.core import telemetry
from diptych.core.types import EmbedderSpec
from diptych.inputs.image import Preprocessing
from diptych.inputs.naflex import NaflexPreprocessing
from diptych.inputs.tokenizer import Tokenizer
from diptych.models import choice, exported
from diptych.models.candidate import EXACT, Candidate, Model, candidates, everywhere, open_engine
from diptych.models.choice import Choice
from diptych.models.embedder import TorchEmbedder
from diptych.models.engine import Precision, Runtime
from diptych.models.two_tower import TwoTower, count_parameters

SMALL = 20_000_000
"""Parameters, without embedding tables, below which there is nothing to gain by choosing."""

INT8_BOUND = 0.9995
"""The cosine with float32 below which int8 is spoken of."""


def build(
    towers: TwoTower, tokenizer: Tokenizer, preprocessing: Preprocessing | NaflexPreprocessing, spec: EmbedderSpec,
    precision: Precision | None = None, runtime: Runtime | None = None, device: str | None = None,
) -> TorchEmbedder:
    """The Embedder of a model, by the runtime, in the precision and on the device asked for.

    `device` is torch's name of one, "cpu" or "cuda:1"; by default the GPU if torch sees one. ValueError says what
    there is when something cannot be, CheckpointError which package is missing.
    """
    check_name("precision", precision, get_args(Precision))
    check_name("runtime", runtime, get_args(Runtime))
    plain = TorchEmbedder(towers, tokenizer, preprocessing, spec)
    model = Model(towers, spec.fingerprint, open_device(device))
    chosen = _chosen(plain, model, precision, runtime)
    if precision is None and runtime is None and chosen.measured:
        _say(f"{spec.name} runs by {_engines(chosen)}, the fastest here whose vectors keep a cosine of "
             f"{choice.BOUND} with float32 ({chosen.worst():.5f} at worst where it was measured)")
    if precision == "int8" and chosen.worst() < INT8_BOUND:
        _say(f"{spec.name} in int8 has vectors of a cosine of {chosen.worst():.4f} with float32, at worst where it was "
             f"measured; precision 'bf16' is closer")
    return plain.by(open_engine(model, chosen.image, chosen.text))


def export(towers: TwoTower, folder: Path, kind: exported.Kind) -> list[Path]:
    """Write both towers as ONNX or OpenVINO files (see `exported.export`)."""
    return exported.export(towers, folder, kind)


def tune(embedder: TorchEmbedder) -> Choice:
    """Export the model for every runtime that is installed, measure all of them in every precision, and remember the
    fastest: the default, which is returned, and that of each precision. Takes a minute for a ViT-B, and four times the
    size of its weights on disk."""
    model = Model(embedder.towers, embedder.spec.fingerprint, torch.device("cpu"))
    there = everywhere(model)
    measured = choice.measure(there, lambda c: embedder.by(open_engine(model, c, c)))

    def keep(precision: Precision | None) -> Choice:
        among = candidates(model, precision, None)
        best = choice.fastest_of(measured, among, choice.SAFE if precision is None else None)
        choice.remember(_choice_file(model), among, str(model.device), best)
        return best

    for precision in get_args(Precision):
        if any(c.precision == precision for c in there):
            keep(precision)
    return keep(None)


def check_name(what: str, name: str | None, known: Sequence[str]) -> None:
    """ValueError unless the name is known or None."""
    if name is not None and name not in known:
        raise ValueError(f"{what} is one of {', '.join(known)}, got {name!r}")


def open_device(name: str | None) -> torch.device:
    """The device of that name, or the best there is. ValueError when it is not here."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is 'cpu', 'cuda' or 'cuda:N', got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device is 'cpu', 'cuda' or 'cuda:N', got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= (there := torch.cuda.device_count()):
        raise ValueError(f"device {name!r} is not here: torch {torch.__version__} sees {there} GPUs; take device='cpu'")
    return device


def _chosen(plain: TorchEmbedder, model: Model, precision: Precision | None, runtime: Runtime | None) -> Choice:
    """What was asked for, remembered, or measured now."""
    # compiling takes too long to try it out: it gets the precision in which torch keeps the vectors
    asked = "torch" if runtime == "compiled" and precision is None else runtime
    among, path = candidates(model, precision, asked), _choice_file(model)
    single = len(among) == 1 and among[0].precision != "int8"  # of int8 it is worth knowing what it costs
    found = Choice(image=among[0], text=among[0]) if single else choice.remembered(path, among, str(model.device))
    if found is None and precision is None and runtime is None and _is_small(model):
        found = Choice(image=EXACT, text=EXACT)
    if found is None:
        measured = choice.measure(among, lambda c: plain.by(open_engine(model, c, c)))
        found = choice.fastest_of(measured, among, choice.SAFE if precision is None else None)
        choice.remember(path, among, str(model.device), found)
    if runtime == "compiled":
        image, text = (Candidate("compiled", c.precision) for c in (found.image, found.text))
        return Choice(image=image, text=text)
    return found


def _is_small(model: Model) -> bool:
    tables = sum(m.weight.numel() for m in model.towers.modules() if isinstance(m, nn.Embedding))
    return model.device.type == "cpu" and count_parameters(model.towers) - tables < SMALL


def _choice_file(model: Model) -> Path:
    return exported.engines_folder(model.fingerprint) / "choice.json"


def _engines(chosen: Choice) -> str:
    return str(chosen.image) if chosen.image == chosen.text else f"{chosen.image} (texts by {chosen.text})"


@functools.cache
def _say(sentence: str) -> None:
    """Once in a process."""
    telemetry.notice(sentence)
