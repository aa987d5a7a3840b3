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

Layout = Literal["native", "huggingface_clip", "huggingface_siglip"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model. `repo` and `revision` say where its files are on the Hugging Face hub, None for a local one.

    `languages` are those in which somebody has measured it, not those that its training data contain. `parameters`
    counts both towers. `calibration` None leaves the score as the model was trained to give it.
    """

    name: str
    repo: str | None
    revision: str = "main"
    aliases: tuple[str, ...] = ()
    licence: str
    languages: tuple[str, ...]
    parameters: int
    layout: Layout
    towers: TwoTowerConfig
    preprocessing: Preprocessing
    tokenizer: TokenizerPolicy
    score_kind: Literal["sigmoid", "softmax"]
    calibration: Calibration | None = None
    general: bool = True

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.towers.text.projection or self.towers.text.width


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
        name="siglip2-base-patch16-256", repo="google/siglip2-base-patch16-256", licence="Apache-2.0",
        languages=_XM3600, parameters=375_234_050, layout="huggingface_siglip",
        towers=TwoTowerConfig(
            image=VitConfig(image_size=256, patch_size=16),
            text=TextConfig(vocab_size=256_000, context_length=64, projection=768)),
        preprocessing=Preprocessing(size=256, policy="squash", interpolation="bilinear"),
        tokenizer=TokenizerPolicy(length=64, cleaning="lower", pad_id=0, eos_id=1),
        score_kind="sigmoid",
    ),
    Entry(
        # arXiv 2303.15343. Padded with its end-of-text id, and no mask: every text is 64 tokens long.
        name="siglip-base-patch16-224", repo="google/siglip-base-patch16-224", licence="Apache-2.0",
        languages=("en",), parameters=203_155_970, layout="huggingface_siglip",
        towers=TwoTowerConfig(image=VitConfig(image_size=224, patch_size=16), text=_SIGLIP_B16),
        preprocessing=Preprocessing(size=224, policy="squash", interpolation="bicubic"),
        tokenizer=TokenizerPolicy(length=64, cleaning="siglip", pad_id=1, eos_id=1),
        score_kind="sigmoid",
    ),
    Entry(
        # arXiv 2103.00020. The main branch has no safetensors file, the conversion of pull request 15 has.
        name="clip-vit-base-patch32", repo="openai/clip-vit-base-patch32", revision="refs/pr/15", licence="MIT",
        languages=("en",), parameters=151_277_313, layout="huggingface_clip",
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
    return next((entry for entry in CATALOGUE if name in (entry.name, entry.repo, *entry.aliases)), None)


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
            name=config["name"], repo=None, licence=about.get("licence", "not stated"),
            languages=tuple(config["languages"]), parameters=_count(folder / "model.safetensors"), layout="native",
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
