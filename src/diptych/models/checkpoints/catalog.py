"""The models that Diptych knows by name, as frozen records: where their weights are, and all that decides a vector.

Nothing is sniffed from key names: architecture, activation, preprocessing and tokenizer policy are declared here, from
the publishers' own configurations, and the loader is strict about the rest. A model in our own layout declares itself
in its `config.json`; `read_native` gives the same record for it. torch is not imported here.
"""

import difflib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diptych.core.config import from_dict
from diptych.core.errors import CheckpointError, ModelNotFound
from diptych.core.types import Calibration
from diptych.inputs.image import Preprocessing
from diptych.inputs.tokenizer import TokenizerPolicy
from diptych.models.config import TextConfig, TwoTowerConfig, VitConfig

Layout = Literal["native", "huggingface_clip", "huggingface_siglip", "huggingface_siglip2", "open_clip",
                 "open_clip_custom", "open_clip_timm", "openai", "big_vision", "mobileclip"]
"""How weights lie in a file. "open_clip" is its `CLIP` (text at the root), "open_clip_custom" its `CustomTextCLIP`
(text under `text.`) with its own picture tower, "open_clip_timm" the same with one of timm's (`visual.trunk.`)."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One published file with a model's weights: where it is, and how they lie in it.

    `repo` and `revision` are of the Hugging Face hub; `url` is an address outside of it. `sha256` where it is known.
    """

    layout: Layout
    repo: str | None = None
    revision: str = "main"
    file: str = "model.safetensors"
    url: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """A published measurement: in percent, by whom, and where it stands."""

    benchmark: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model.

    `weights` are the files that hold it, the one to pull first; none for a model in our own layout. `tokenizer_repo`
    is where `tokenizer.json` is when the first file's repository has none. `aliases` are the names under which other
    tools know it: open_clip's `ViT-B-16-SigLIP2::webli`, further repositories. `languages` are those in which somebody
    has measured it, not those that its training data contain. `parameters` counts both towers. `calibration` None
    leaves the score as the model was trained to give it.
    """

    name: str
    family: str
    weights: tuple[Weights, ...]
    aliases: tuple[str, ...] = ()
    licence: str
    languages: tuple[str, ...]
    parameters: int
    towers: TwoTowerConfig
    preprocessing: Preprocessing
    tokenizer: TokenizerPolicy
    tokenizer_repo: str | None = None
    score_kind: Literal["sigmoid", "softmax"]
    calibration: Calibration | None = None
    general: bool = True
    scores: tuple[Score, ...] = ()

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.towers.text.projection or self.towers.text.width

    @property
    def layout(self) -> Layout:
        """The layout of the file that is pulled."""
        return self.weights[0].layout if self.weights else "native"


_XM3600 = (
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu", "id", "it", "ja",
    "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "sw", "te", "th", "tr", "uk", "vi", "zh",
)
"""Crossmodal-3600's languages (arXiv 2205.12522), on which SigLIP 2 was scored, without Māori and Cusco Quechua, for
which there is too little text on the web to rely on."""

_SIGLIP_B16 = TextConfig(vocab_size=32_000, context_length=64, pad_id=1, projection=768)

CATALOGUE = (
    Entry(
        # arXiv 2502.14786. The fixed resolutions have the first SigLIP's architecture, with Gemma's vocabulary.
        name="siglip2-base-patch16-256", family="SigLIP 2", licence="Apache-2.0",
        weights=(Weights(repo="google/siglip2-base-patch16-256", layout="huggingface_siglip"),),
        languages=_XM3600, parameters=375_234_050,
        towers=TwoTowerConfig(
            image=VitConfig(image_size=256, patch_size=16),
            text=TextConfig(vocab_size=256_000, context_length=64, projection=768)),
        preprocessing=Preprocessing(size=256, policy="squash", interpolation="bilinear"),
        tokenizer=TokenizerPolicy(length=64, cleaning="lower", pad_id=0, eos_id=1),
        score_kind="sigmoid",
    ),
    Entry(
        # arXiv 2303.15343. Padded with its end-of-text id, and no mask: every text is 64 tokens long.
        name="siglip-base-patch16-224", family="SigLIP", licence="Apache-2.0",
        weights=(Weights(repo="google/siglip-base-patch16-224", layout="huggingface_siglip"),),
        languages=("en",), parameters=203_155_970,
        towers=TwoTowerConfig(image=VitConfig(image_size=224, patch_size=16), text=_SIGLIP_B16),
        preprocessing=Preprocessing(size=224, policy="squash", interpolation="bicubic"),
        tokenizer=TokenizerPolicy(length=64, cleaning="siglip", pad_id=1, eos_id=1),
        score_kind="sigmoid",
    ),
    Entry(
        # arXiv 2103.00020. The main branch has no safetensors file, the conversion of pull request 15 has.
        name="clip-vit-base-patch32", family="CLIP", licence="MIT",
        weights=(Weights(repo="openai/clip-vit-base-patch32", revision="refs/pr/15", layout="huggingface_clip"),),
        languages=("en",), parameters=151_277_313,
        towers=TwoTowerConfig(
            image=VitConfig(
                image_size=224, patch_size=32, pool="cls", activation="quick_gelu", pre_norm=True, patch_bias=False,
                projection=512, norm_eps=1e-5),
            text=TextConfig(
                vocab_size=49_408, context_length=77, width=512, heads=8, mlp_width=2048, activation="quick_gelu",
                causal=True, pool="argmax", eos_id=49_407, projection=512, projection_bias=False, norm_eps=1e-5),
            init_logit_scale=1 / 0.07, init_logit_bias=None),
        preprocessing=Preprocessing(
            size=224, policy="shortest_crop", interpolation="bicubic",
            mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)),
        tokenizer=TokenizerPolicy(length=77, cleaning="clip", pad_id=0, eos_id=49_407, bos_id=49_406),
        score_kind="softmax",
        # softmax has no absolute score: 0.28 is where LAION-5B, with this model, drew the line between a text that
        # fits its picture and one that does not (arXiv 2210.08402); 100 is the model's own scale
        calibration=Calibration(scale=100.0, bias=-28.0, cutoff=0.5),
    ),
)
"""Best first: `best_general` takes the first that is here."""


def find(name: str) -> Entry | None:
    """The catalogue's entry of a name, an alias or a hub repository."""
    return next((entry for entry in CATALOGUE if name in names_of(entry)), None)


def names_of(entry: Entry) -> tuple[str, ...]:
    """Its name, the repositories of its files, and its aliases."""
    return (entry.name, *(w.repo for w in entry.weights if w.repo), *entry.aliases)


def get(name: str) -> Entry:
    """As `find`; ModelNotFound names the nearest."""
    if entry := find(name):
        return entry
    names = [entry.name for entry in CATALOGUE]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    raise ModelNotFound(f"the catalogue has no {name!r}; the nearest is {near[0]!r} (it has: {', '.join(names)})")


def read_native(folder: Path) -> Entry:
    """The record of a model in our own layout, from its files. CheckpointError says which one cannot be read."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        card = folder / "card.json"
        about: dict[str, Any] = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
        calibration = about.get("calibration")
        return Entry(
            name=config["name"], family="Diptych", weights=(), licence=about.get("licence", "not stated"),
            languages=tuple(config["languages"]), parameters=_count(folder / "model.safetensors"),
            towers=from_dict(TwoTowerConfig, config["towers"]),
            preprocessing=from_dict(Preprocessing, config["preprocessing"]),
            tokenizer=from_dict(TokenizerPolicy, config["tokenizer"]),
            score_kind=config["score_kind"], general=config["general"],
            calibration=from_dict(Calibration, calibration) if calibration else None,
        )
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} does not hold a model in Diptych's layout: {error!r}") from error


def _count(weights: Path) -> int:
    """Number of scalars in a safetensors file, from its header alone."""
    with weights.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
