"""What a model with a decoder says of pictures, against what people said: CIDEr, ROUGE-L, BLEU-4, METEOR.

The COCO protocol (arXiv 1504.00325): all captions of a picture are its references. Words are runs of letters, digits
and marks in lower case; of scripts without spaces every character is one. COCO's own tokenizer, a Java program, parts
words at other places ("don't" is "do" and "n't" there), so that published numbers differ a little. METEOR is NLTK's, of
2007 (Lavie and Agarwal: words, stems, synonyms), for captions that are English or name no language, where NLTK's
WordNet is there; COCO's is 1.5, which has learned weights and paraphrases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from diptych.core import telemetry
from diptych.core.errors import DiptychError
from diptych.data.draws import generator
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import captions
from diptych.evaluation.metrics.captions import Frequencies, Words
from diptych.evaluation.metrics.sums import OfSums
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.slices import slices
from diptych.evaluation.split import COLUMN, tested_part
from diptych.index.lexical import is_unspaced, runs
from diptych.inputs.text import clean

TASK = "captioning"

BLOCK = 32
"""Pictures that are decoded and described at a time."""


@dataclass(frozen=True, kw_only=True)
class CaptioningConfig:
    """`pictures` of those with a caption in `language` (None: English where there are such, else the first), drawn by
    `seed`."""

    pictures: int = 1000
    language: str | None = None
    seed: int = 0

    def __post_init__(self):
        if self.pictures < 2:
            raise ValueError(f"pictures are at least 2, got {self.pictures}")


def require() -> None:
    """DiptychError, with the command that installs them, when sacrebleu or nltk is missing."""
    if find_spec("sacrebleu") is None or find_spec("nltk") is None:
        raise DiptychError("captioning needs sacrebleu and nltk: pip install 'diptych[evaluate]'")


def captioning(embedded: Embedded, config: CaptioningConfig) -> Outcome:
    """Samples are pictures with a caption, those of the test part where the data name one. "cider" (CIDEr-D, how rare
    words are by all references of the data), "rouge_l" and, where `synonyms` are there, "meteor" are means, "bleu@4" is
    of all samples at once; `chance` is what a caption of another picture reaches.

    ValueError when there are fewer than two pictures with a caption in that language, and for a model without a
    decoder.
    """
    data = embedded.data
    language = data.language if config.language is None else config.language
    references = _references(data, language)
    part = tested_part(data)
    able = [i for i in references if part is None or data.columns[COLUMN][i] == part]
    if len(able) < 2:
        raise ValueError(f"{data.name} has {len(able)} pictures with a caption in {language!r}"
                         f"{f' in part {part!r}' if part else ''}; its captions are in "
                         f"{', '.join(map(repr, data.languages)) or 'no language'} (captioning.language chooses)")
    if embedded.looks.describe is None:
        raise ValueError("the model has no decoder that writes captions; training keeps one beside the model where the "
                         "recipe has `decoder`")
    drawn = generator(config.seed, TASK).permutation(len(able))[: config.pictures]
    pictures = [able[int(at)] for at in np.sort(drawn)]
    true = [[words(text) for text in references[i]] for i in pictures]
    known = captions.frequencies([words(text) for text in own] for own in references.values())
    said = _described(embedded, pictures)
    english = synonyms() if language.partition("-")[0] in ("", "en") else None
    counts, values = _judged([words(text) for text in said], true, known, english)
    order = generator(config.seed, "another picture").permutation(len(pictures))
    another = np.empty_like(order)
    another[order] = np.roll(order, 1)
    by_chance, chance = _judged([true[int(at)][0] for at in another], true, known, english)
    return Outcome(
        task=TASK, ids=[data.ids[i] for i in pictures], values=values, statistics={"bleu@4": _bleu(counts)},
        amounts=frozenset({"cider"}),
        groups=[str((data.same or range(len(data)))[i]) for i in pictures],
        slices=slices(data, pictures, without={COLUMN}),
        details={"said": said, "references": [references[i] for i in pictures],
                 "nearest": [_nearest(text, references[i]) for i, text in zip(pictures, said, strict=True)]},
        chance={name: float(column.mean()) for name, column in chance.items()}
        | {"bleu@4": _bleu(by_chance)(np.ones(len(pictures)))})


def words(text: str) -> list[str]:
    """What is compared."""
    return [word for run in runs(clean(text, "nfkc_lower")) for word in (run if is_unspaced(run) else (run,))]


def synonyms() -> Any | None:
    """NLTK's WordNet (`python -m nltk.downloader wordnet`), None where it is not."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return None
    return wordnet


def _references(data: Dataset, language: str) -> dict[int, list[str]]:
    """The captions with words of each picture that has one, by its number."""
    found: dict[int, list[str]] = {}
    for caption in data.captions:
        if caption.language == language and words(caption.text):
            for picture in caption.pictures:
                found.setdefault(picture, []).append(caption.text)
    return dict(sorted(found.items()))


def _described(embedded: Embedded, pictures: Sequence[int]) -> list[str]:
    describe = embedded.looks.describe
    assert describe is not None
    said: list[str] = []
    with telemetry.progress(f"{embedded.spec.name}: captions", len(pictures), "pictures") as bar:
        for start in range(0, len(pictures), BLOCK):
            some = pictures[start : start + BLOCK]
            said += describe([embedded.decode(i) for i in some])
            bar.advance(len(some))
    return said


def _nearest(said: str, references: Sequence[str]) -> str:
    """The reference that is most like it, by ROUGE-L; the first of several."""
    own = words(said)
    return max(references, key=lambda text: captions.rouge_l(own, [words(text)]))


def _judged(
    said: Sequence[Words], true: Sequence[Sequence[Words]], known: Frequencies, english: Any | None
) -> tuple[Int[np.ndarray, "samples 10"], dict[str, np.ndarray]]:
    """What BLEU counts of each caption (`_bleu`), and the figures that are means."""
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(tokenize="none", effective_order=True)  # which counts no otherwise, and does not warn
    scores = [bleu.sentence_score(" ".join(own), [" ".join(text) for text in others])
              for own, others in zip(said, true, strict=True)]
    counts = np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores])
    values = {"cider": [captions.cider(own, others, known) for own, others in zip(said, true, strict=True)],
              "rouge_l": [captions.rouge_l(own, others) for own, others in zip(said, true, strict=True)]}
    if english is not None:
        from nltk.translate.meteor_score import meteor_score

        values["meteor"] = [meteor_score(others, own, wordnet=english) for own, others in zip(said, true, strict=True)]
    return counts, {name: np.array(column, np.float64) for name, column in values.items()}


def _bleu(counts: Int[np.ndarray, "samples 10"]) -> OfSums:
    """BLEU-4 of all samples, from the n-grams of one to four words that are right, those that were said, and the
    lengths of what was said and of the nearest reference. NaN of no sample."""
    from sacrebleu.metrics.bleu import BLEU

    def score(sums: Float[np.ndarray, " 10"]) -> float:
        if not sums[9]:  # every reference has words
            return float("nan")
        total = [round(1e6 * number) for number in sums.tolist()]  # whole numbers, and draws weigh captions by parts
        return min(1.0, BLEU.compute_bleu(total[:4], total[4:8], total[8], total[9]).score / 100)  # 1 + rounding

    return OfSums(cell=np.zeros(len(counts), np.int64), columns=counts.astype(np.float64),
                  figure=lambda sums: np.array([score(row) for row in sums[:, 0]]))
