"""Zero-shot classification: which class's name fits a picture best (CLIP, arXiv 2103.00020 §3.1.4).

A class is the mean of its filled templates' unit vectors, made a unit vector again. A picture whose best two classes
tie is wrong. With several templates each is also tried alone: how far the score depends on the words (`by_template`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from diptych.evaluation.dataset import Dataset
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import calibration, classification
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.result import Template
from diptych.evaluation.slices import slices
from diptych.evaluation.split import COLUMN, tested_part
from diptych.evaluation.templates import TEMPLATES, canonical, fill

TASK = "zero_shot"
AUTO = "auto"

_AT_ONCE = 1 << 22
"""Scores in memory at a time: 16 MiB."""


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """`templates` are a set's name (`templates.TEMPLATES`), or templates with a {} each; "auto" are those that the data
    bring, as public sets do, and `otherwise` where they bring none. `canonicalise` writes class names and prompts as
    big_vision does. `language` is that of the names; "" is the data's own."""

    templates: str | tuple[str, ...] = AUTO
    otherwise: str = "clip7"
    canonicalise: bool = False
    language: str = ""

    def __post_init__(self):
        for name in (self.templates, self.otherwise):
            if isinstance(name, str) and name not in TEMPLATES and (name == self.otherwise or name != AUTO):
                raise ValueError(f"no set of templates {name!r}; there are {AUTO}, {', '.join(TEMPLATES)}, or give "
                                 "templates with a {} each")
        if not self.templates:
            raise ValueError("zero-shot classification needs a template; (\"{}\",) is the name alone")
        for template in () if isinstance(self.templates, str) else self.templates:
            fill(template, "")

    def texts(self, data: Dataset) -> tuple[str, ...]:
        """The templates for these data."""
        if self.templates == AUTO:
            return data.templates or TEMPLATES[self.otherwise]
        return TEMPLATES[self.templates] if isinstance(self.templates, str) else self.templates


def zero_shot(embedded: Embedded, config: ZeroShotConfig) -> Outcome:
    """Samples are the pictures with a class, those of the test part where the data name one. "acc@1", "acc@5" where
    there are more than five classes, "mean_per_class_recall", and of the probability that the best class is the right
    one ("softmax over logit_scale · cosine") the calibration error "ece" and "brier".

    ValueError when there are fewer than two classes.
    """
    data, pictures, target = embedded.data, *_labelled(embedded.data)
    classes = class_vectors(embedded, config, config.texts(data))
    ks = (1, 5) if len(data.classes) > 5 else (1,)
    hits: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    predicted, said = [], []
    for some in _blocks(len(pictures), len(classes)):
        scores = embedded.images[pictures[some]] @ classes.T
        for k in ks:
            hits[k].append(classification.accuracy_at_k(scores, target[some], k))
        predicted.append(scores.argmax(axis=1))
        said.append(_confidence(scores, embedded.spec.logit_scale))
    best, confidence = np.concatenate(predicted), np.concatenate(said)
    values = {f"acc@{k}": np.concatenate(found).astype(np.float64) for k, found in hits.items()}
    right = values["acc@1"]
    values["brier"] = calibration.brier(confidence, right)
    return Outcome(
        task=TASK, ids=[data.ids[picture] for picture in pictures], values=values,
        statistics={
            "mean_per_class_recall": classification.weighted_recall(right, target),
            "ece": calibration.weighted_ece(confidence, right)},
        groups=[str((data.same or range(len(data)))[picture]) for picture in pictures],
        slices=slices(data, pictures, without={COLUMN}),
        details={"expected": [data.labels[picture] for picture in pictures],
                 "predicted": [data.classes[number] for number in best], "said": confidence.tolist(),
                 "right": right.tolist()},
        chance={f"acc@{k}": k / len(classes) for k in ks} | {"mean_per_class_recall": 1 / len(classes)},
        lower=frozenset({"ece", "brier"}))


def by_template(embedded: Embedded, config: ZeroShotConfig) -> tuple[Template, ...]:
    """acc@1 with each template alone; nothing where there is only one."""
    pictures, target = _labelled(embedded.data)
    found = []
    templates = config.texts(embedded.data)
    for template in templates if len(templates) > 1 else ():
        classes = class_vectors(embedded, config, (template,))
        right = [classification.accuracy_at_k(embedded.images[pictures[some]] @ classes.T, target[some], 1)
                 for some in _blocks(len(pictures), len(classes))]
        found.append(Template(model=embedded.spec.name, template=template, figure="acc@1",
                              value=float(np.concatenate(right).mean())))
    return tuple(found)


def class_vectors(
    embedded: Embedded, config: ZeroShotConfig, templates: Sequence[str]
) -> Float[np.ndarray, "classes dim"]:
    """The unit vector of every class: the mean over the templates."""
    names = names_of(embedded.data, config.language)
    write: Callable[[str], str] = canonical if config.canonicalise else str
    texts = [write(fill(template, name)) for name in names for template in templates]
    vectors = embedded.texts(texts).reshape(len(names), len(templates), -1).mean(axis=1)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def names_of(data: Dataset, language: str = "") -> list[str]:
    """What the classes are called. ValueError names the languages that there are, and classes without a name."""
    if language and language not in data.names:
        raise ValueError(f"{data.name} has no class names in {language!r}; it has "
                         f"{', '.join(sorted(filter(None, data.names))) or 'none but its own'}")
    said = data.names.get(language, {})
    if language and (missing := [name for name in data.classes if name not in said]):
        raise ValueError(f"{len(missing)} classes of {data.name} have no name in {language!r}, such as {missing[0]!r}")
    return [said.get(name, name.replace("_", " ")) for name in data.classes]


def _labelled(data: Dataset) -> tuple[Int[np.ndarray, " pictures"], Int[np.ndarray, " pictures"]]:
    """The pictures that are tested, and the number of the class of each."""
    if len(data.classes) < 2:
        raise ValueError(f"{data.name} has {len(data.classes)} classes ({', '.join(data.classes) or 'no labels'}); "
                         "zero-shot classification tells two or more apart")
    number = {name: at for at, name in enumerate(data.classes)}
    parts, tested = data.columns.get(COLUMN, ()), tested_part(data)
    pictures = [i for i, label in enumerate(data.labels) if label and (tested is None or parts[i] == tested)]
    if not pictures:
        raise ValueError(f"no picture of {data.name}'s part {tested!r} has a class")
    return np.array(pictures), np.array([number[data.labels[i]] for i in pictures])


def _blocks(pictures: int, classes: int) -> list[slice]:
    size = max(1, _AT_ONCE // classes)
    return [slice(start, start + size) for start in range(0, pictures, size)]


def _confidence(scores: Float[np.ndarray, "pictures classes"], scale: float) -> Float[np.ndarray, " pictures"]:
    """The largest share of a softmax over the classes."""
    logits = scale * (scores - scores.max(axis=1, keepdims=True)).astype(np.float64)
    return 1 / np.exp(logits).sum(axis=1)
