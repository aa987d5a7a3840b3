"""INTERIM by the lead, so that the loaders can be tested: H7 replaces this file whole."""

from pathlib import Path
from typing import Literal

from diptych.core.types import EmbedderSpec
from diptych.inputs.image import Preprocessing
from diptych.inputs.naflex import NaflexPreprocessing
from diptych.inputs.tokenizer import Tokenizer
from diptych.models.embedder import TorchEmbedder
from diptych.models.two_tower import TwoTower

Precision = Literal["fp32", "bf16", "int8"]
Runtime = Literal["torch", "compiled", "openvino", "onnxruntime"]


def build(towers: TwoTower, tokenizer: Tokenizer, preprocessing: Preprocessing | NaflexPreprocessing,
          spec: EmbedderSpec, precision: Precision | None = None, runtime: Runtime | None = None,
          device: str | None = None) -> TorchEmbedder:
    return TorchEmbedder(towers, tokenizer, preprocessing, spec, bf16=False if precision == "fp32" else None)


def export(towers: TwoTower, folder: Path, kind: str) -> None:
    raise NotImplementedError(kind)
