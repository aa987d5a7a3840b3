"""The records of the catalogue: one `Entry` a model, with its files, its scores, and what its licence allows.

Everything that decides a vector stands in an `Entry`: towers, preprocessing, tokenizer policy. The rest is for people
who choose. torch is not imported here.
"""

from dataclasses import dataclass
from typing import Literal

from diptych.core.types import Calibration
from diptych.inputs.image import Preprocessing
from diptych.inputs.naflex import NaflexPreprocessing
from diptych.inputs.tokenizer import TokenizerPolicy
from diptych.models.config import TwoTowerConfig

Layout = Literal["native", "huggingface_clip", "huggingface_siglip", "huggingface_siglip2", "open_clip",
                 "open_clip_custom", "open_clip_timm", "openai", "big_vision", "mobileclip"]
"""How weights lie in a file. "open_clip" is its `CLIP` (text at the root), "open_clip_custom" its `CustomTextCLIP`
(text under `text.`) with its own picture tower, "open_clip_timm" the same with one of timm's (`visual.trunk.`)."""

IMAGENET, MEAN_38 = "ImageNet top-1", "mean of 38 sets"
FLICKR, COCO, XM3600 = "Flickr30k text→image R@1", "COCO text→image R@1", "XM3600 text→image R@1"
CVQA = "CVQA local languages"
"""The benchmarks whose scores the catalogue holds: zero-shot accuracy, and recall of the picture of a caption. The 38
sets are those of DataComp (arXiv 2304.14108); XM3600's recall is the mean over its 36 languages."""


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
    """A published measurement: in percent, and where it stands."""

    benchmark: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """What the published weights answered where they were published: the numbers of `diptych models verify`.

    `expected` has a row for each of `pictures`, a column for each of `texts`. Pictures are files by their name, or
    "circle HEIGHTxWIDTH": on a red RGB ground a blue ellipse in the middle, of radius min(width, height) // 2 // 8 * 7,
    with a green outline of width // 20 pixels, drawn by Pillow. "scale and bias" is one row without pictures or texts:
    the exponentiated scale, and the bias.
    """

    quantity: Literal["logits", "probabilities", "scale and bias"]
    pictures: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    expected: tuple[tuple[float, ...], ...]
    tolerance: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a licence means for somebody who chooses a model. `commercial`: whether products may be built on it."""

    commercial: bool
    about: str
    url: str


LICENCES = {
    "MIT": Terms(commercial=True, about="any use, with the copyright notice", url="https://opensource.org/license/mit"),
    "Apache-2.0": Terms(commercial=True, about="any use, with the notices; grants patents",
                        url="https://www.apache.org/licenses/LICENSE-2.0"),
    "CC-BY-NC-4.0": Terms(commercial=False, about="not for commercial use; tuned weights may be shared, with the name",
                          url="https://creativecommons.org/licenses/by-nc/4.0/"),
    "Apple AMLR": Terms(commercial=False, about="for research only, tuned weights as well; no product or service",
                        url="https://github.com/apple/ml-mobileclip/blob/main/LICENSE_MODELS"),
    "HAI-DEF": Terms(commercial=True, about="Health AI Developer Foundations terms: any use but the prohibited ones, "
                     "and clinical use only with authorisation; to be accepted on the hub before the files can be had",
                     url="https://developers.google.com/health-ai-developer-foundations/terms"),
}
"""The licences of the published weights. A summary for choosing, not advice: the text behind `url` is what holds."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model.

    `weights` are the files that hold it, the one to pull first; none for a model in our own layout. `tokenizer_repo`
    is where `tokenizer.json` is when the first file's repository has none. `aliases` are the names under which other
    tools know it: open_clip's `ViT-B-16-SigLIP2::webli`, further repositories. `languages` are those in which somebody
    has measured it, not those that its training data contain. `parameters` counts both towers. `calibration` None
    leaves the score as the model was trained to give it. `gated` repositories want an account and consent to their
    terms. `note` is what a user should know before choosing it.
    """

    name: str
    family: str
    weights: tuple[Weights, ...]
    aliases: tuple[str, ...] = ()
    licence: str
    languages: tuple[str, ...]
    parameters: int
    towers: TwoTowerConfig
    preprocessing: Preprocessing | NaflexPreprocessing
    tokenizer: TokenizerPolicy
    tokenizer_repo: str | None = None
    score_kind: Literal["sigmoid", "softmax"]
    calibration: Calibration | None = None
    general: bool = True
    gated: bool = False
    note: str = ""
    scores: tuple[Score, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.towers.text.projection or self.towers.text.width

    @property
    def layout(self) -> Layout:
        """The layout of the file that is pulled."""
        return self.weights[0].layout if self.weights else "native"

    @property
    def terms(self) -> Terms | None:
        """What its licence means, or None for a licence that the catalogue does not know."""
        return LICENCES.get(self.licence)

    @property
    def research_only(self) -> bool:
        """Whether its licence is known to forbid commercial use."""
        return self.terms is not None and not self.terms.commercial

    def score(self, benchmark: str) -> float | None:
        """Its published result in percent; None when the catalogue has none. Of several the first: the publisher's."""
        return next((s.value for s in self.scores if s.benchmark == benchmark), None)


def scores(source: str, results: dict[str, float]) -> tuple[Score, ...]:
    """One source's results, by benchmark."""
    return tuple(Score(benchmark=benchmark, value=value, source=source) for benchmark, value in results.items())
