"""Our own layout: a folder with `config.json`, `model.safetensors` (half precision) and `tokenizer.json`.

config.json declares everything that decides a vector: architecture, preprocessing, tokenizer policy. The fingerprint
is the sha256 over it and the two other files, so any change of any of them is another embedder. Calibration and scores
lie in `card.json`: they describe the model and do not change its vectors.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from diptych.core.config import from_dict, to_json
from diptych.core.errors import CheckpointError
from diptych.core.files import atomic_write, sha256_bytes, sha256_file, write_text
from diptych.core.types import Calibration, EmbedderSpec
from diptych.inputs.image import Preprocessing
from diptych.inputs.tokenizer import Tokenizer, TokenizerPolicy
from diptych.models.config import TwoTowerConfig
from diptych.models.embedder import TorchEmbedder
from diptych.models.two_tower import TwoTower


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """`config.json`: all that decides a vector, but the weights and the tokenizer's file."""

    name: str
    towers: TwoTowerConfig
    preprocessing: Preprocessing
    tokenizer: TokenizerPolicy
    languages: tuple[str, ...]
    score_kind: Literal["sigmoid", "softmax"]
    general: bool


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """`card.json`: what is known of the model beside its vectors."""

    licence: str
    calibration: Calibration | None
    scores: dict[str, float]
    data_sha256: str


def save_model(folder: Path, towers: TwoTower, tokenizer: Tokenizer, config: ModelConfig, card: ModelCard) -> None:
    """Write the folder; weights in float16."""
    weights = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in towers.state_dict().items()}
    with atomic_write(folder / "model.safetensors") as stream:
        stream.write(save(weights))
    write_text(folder / "tokenizer.json", tokenizer.backend.to_str())
    write_text(folder / "config.json", to_json(config))
    write_text(folder / "card.json", to_json(card))


def is_model(folder: Path) -> bool:
    """Whether the folder holds a model in this layout."""
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


def read_card(folder: Path) -> ModelCard:
    """The card beside the weights."""
    return from_dict(ModelCard, json.loads((folder / "card.json").read_text(encoding="utf-8")))


def read_config(folder: Path) -> ModelConfig:
    """What is declared of the model in `folder`."""
    return from_dict(ModelConfig, json.loads((folder / "config.json").read_text(encoding="utf-8")))


def load_model(folder: Path) -> TorchEmbedder:
    """Open a folder. CheckpointError names a missing file, or a key that is missing, unknown or misshapen."""
    missing = [n for n in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / n).is_file()]
    if missing:
        raise CheckpointError(f"{folder} is not a Diptych model: it lacks {', '.join(missing)}")
    try:
        text = (folder / "config.json").read_text(encoding="utf-8")
        config = from_dict(ModelConfig, json.loads(text))
        card = read_card(folder) if (folder / "card.json").is_file() else None
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder}/config.json or card.json is damaged or of another version: {error}") from error
    towers = TwoTower(config.towers).requires_grad_(False)
    try:
        weights = load_file(folder / "model.safetensors")
        towers.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}/model.safetensors does not fit its config.json: {error}") from error
    digests = [sha256_bytes(text.encode()), *(sha256_file(folder / n) for n in ("model.safetensors", "tokenizer.json"))]
    bias = towers.logit_bias
    spec = EmbedderSpec(
        name=config.name, fingerprint=sha256_bytes("\n".join(digests).encode()), dim=towers.dim,
        image_size=config.preprocessing.size, languages=config.languages, score_kind=config.score_kind,
        logit_scale=float(towers.logit_scale), logit_bias=0.0 if bias is None else float(bias),
        calibration=card.calibration if card else None, general=config.general,
    )
    tokenizer = Tokenizer.from_file(folder / "tokenizer.json", config.tokenizer)
    return TorchEmbedder(towers, tokenizer, config.preprocessing, spec)
