"""Zero-shot classification in every language in which the data name all their classes: the same pictures and classes in
each, so that what differs is the language.

The names are put into a photo and a picture of {} in that language (`templates`). Of many classes they are bare names,
which retrieval has embedded already: a thousand classes in 36 languages are 36,000 texts, and 72,000 with templates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diptych.evaluation.dataset import Dataset
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import classification
from diptych.evaluation.metrics.sums import mean_of_means, of_means
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.split import column_of
from diptych.evaluation.templates import in_language
from diptych.evaluation.zero_shot import AUTO, ZeroShotConfig, class_vectors, labelled, prompts, scored

TASK = "zero_shot_languages"
OWN = "own"
"""What the language of the data is called where nobody says; its templates are English."""
ENGLISH = "en"


@dataclass(frozen=True, kw_only=True)
class MultilingualConfig:
    """In these `languages`; None: in all that name every class. `templates` are put around names of up to
    `most_classes`; more stand alone."""

    languages: tuple[str, ...] | None = None
    templates: str | tuple[str, ...] = AUTO
    most_classes: int = 200

    def __post_init__(self):
        ZeroShotConfig(templates=self.templates)


def zero_shot_languages(embedded: Embedded, config: MultilingualConfig) -> Outcome:
    """Samples are pictures × languages; those of one picture, or of the same pixels, are drawn together. "acc@1",
    "acc@5" where there are more than five classes, by language as slices; "mean_acc@1" over the languages and
    "worst_language_acc@1".

    ValueError with fewer than two classes or languages that name them all, and for a language that is asked for and
    does not.
    """
    data = named(embedded.data)
    pictures, target = labelled(data)
    spoken = _spoken(data, config)
    templates = config.templates if len(data.classes) <= config.most_classes else ("{}",)
    ks = (1, 5) if len(data.classes) > 5 else (1,)
    hits: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    for language in spoken:
        own = in_language(language or ENGLISH) if templates == AUTO else templates
        classes = class_vectors(embedded, prompts(data, ZeroShotConfig(templates=own, language=language)))
        for some, scores in scored(embedded, pictures, classes):
            for k in ks:
                hits[k].append(classification.accuracy_at_k(scores, target[some], k))
    values = {f"acc@{k}": np.concatenate(found) for k, found in hits.items()}
    told = [language or OWN for language in spoken for _ in pictures]
    number = np.repeat(np.arange(len(spoken)), len(pictures))
    same = data.same or range(len(data))
    return Outcome(
        task=TASK, ids=[f"{language or OWN}|{data.ids[picture]}" for language in spoken for picture in pictures],
        values=values, statistics={
            "mean_acc@1": mean_of_means(values["acc@1"], number, least=2),  # NaN in a slice of one
            "worst_language_acc@1": of_means(values["acc@1"], number, least=2, figure=lambda means, there: np.where(
                there, means, np.inf).min(axis=1))},
        groups=[str(same[picture]) for _ in spoken for picture in pictures], slices={"language": told},
        details={"picture": [data.ids[picture] for _ in spoken for picture in pictures],
                 "expected": [data.labels[picture] for _ in spoken for picture in pictures]},
        chance={f"acc@{k}": k / len(data.classes) for k in ks} | {"mean_acc@1": 1 / len(data.classes)})


def named(data: Dataset) -> Dataset:
    """The data with the classes that `names` are of: the labels, or the column in the role "named"."""
    if "named" not in data.roles:
        return data
    labels = tuple(column_of(data, data.roles["named"]))
    return replace(data, labels=labels, classes=tuple(sorted({*labels} - {""})))


def _spoken(data: Dataset, config: MultilingualConfig) -> Sequence[str]:
    if config.languages is not None:
        return config.languages
    found = [language for language, names in sorted(data.names.items())
             if language and {*data.classes} <= {*names}]
    own = [""] if "named" not in data.roles else []
    if len(found := own * bool(found) + found) < 2:
        partly = ", ".join(sorted(filter(None, data.names)))
        raise ValueError(f"{data.name} has no other language that names all {len(data.classes)} classes"
                         f"{f' (some in {partly})' if partly else ''}; give columns such as label_de, or "
                         "classnames.de.txt beside classnames.txt")
    return found
