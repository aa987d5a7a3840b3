"""Zero-shot classification: which class's name fits a picture best (CLIP, arXiv 2103.00020 §3.1.4).

A class is the mean of its filled templates' unit vectors, made a unit vector again. A picture whose best two classes
tie is wrong. With several templates each is also tried alone: how far the score depends on the words (`by_template`).
In place of templates a class may have descriptions ("descriptions"): CuPL (arXiv 2209.03320) and classification by
description (arXiv 2210.07183), as the mean of their vectors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from diptych.evaluation.dataset import Dataset
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import calibration, classification
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.result import Template
from diptych.evaluation.slices import slices
from diptych.evaluation.split import COLUMN, tested
from diptych.evaluation.templates import TEMPLATES, canonical, fill, in_language

TASK, DESCRIBED = "zero_shot", "zero_shot_descriptions"
AUTO, DESCRIPTIONS = CHOSEN = "auto", "descriptions"
"""Ways to write the classes that the data decide."""

_AT_ONCE = 1 << 22
"""Scores in memory at a time: 16 MiB."""


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """`templates` are a set's name (`templates.TEMPLATES`), templates with a {} each, "auto": the data's own, else
    those of `language`, else the set `otherwise`; or "descriptions": what the data say of each class, in place of its
    name. `canonicalise` writes class names and prompts as big_vision does. `language` is that of the names; "" is the
    data's own."""

    templates: str | tuple[str, ...] = AUTO
    otherwise: str = "clip7"
    canonicalise: bool = False
    language: str = ""

    def __post_init__(self):
        for name in (self.templates, self.otherwise):
            if isinstance(name, str) and name not in TEMPLATES and (name == self.otherwise or name not in CHOSEN):
                raise ValueError(f"no set of templates {name!r}; there are {', '.join((*CHOSEN, *TEMPLATES))}, or give "
                                 "templates with a {} each")
        if not self.templates:
            raise ValueError("zero-shot classification needs a template; (\"{}\",) is the name alone")
        for template in () if isinstance(self.templates, str) else self.templates:
            fill(template, "")


def zero_shot(embedded: Embedded, config: ZeroShotConfig, task: str = TASK) -> Outcome:
    """Samples are the pictures with a class, those of the test part where the data name one. "acc@1", "acc@5" where
    there are more than five classes, "mean_per_class_recall", and of the probability that the best class is the right
    one ("softmax over logit_scale · cosine") the calibration error "ece" and "brier".

    ValueError when there are fewer than two classes, and for classes without what their texts are made of.
    """
    data, pictures, target = embedded.data, *labelled(embedded.data)
    classes = class_vectors(embedded, prompts(data, config))
    ks = (1, 5) if len(data.classes) > 5 else (1,)
    hits: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    predicted, said = [], []
    for some, scores in scored(embedded, pictures, classes):
        for k in ks:
            hits[k].append(classification.accuracy_at_k(scores, target[some], k))
        predicted.append(scores.argmax(axis=1))
        said.append(_confidence(scores, embedded.spec.logit_scale))
    best, confidence = np.concatenate(predicted), np.concatenate(said)
    values = {f"acc@{k}": np.concatenate(found).astype(np.float64) for k, found in hits.items()}
    right = values["acc@1"]
    values["brier"] = calibration.brier(confidence, right)
    return Outcome(
        task=task, ids=[data.ids[picture] for picture in pictures], values=values,
        statistics={
            "mean_per_class_recall": classification.mean_per_class_recall(right, target),
            "ece": calibration.ece(confidence, right)},
        groups=[str((data.same or range(len(data)))[picture]) for picture in pictures],
        slices=slices(data, pictures, without={COLUMN}),
        details={"expected": [data.labels[picture] for picture in pictures],
                 "predicted": [data.classes[number] for number in best], "said": confidence.tolist(),
                 "right": right.tolist()},
        chance={f"acc@{k}": k / len(classes) for k in ks} | {"mean_per_class_recall": 1 / len(classes)},
        lower=frozenset({"ece", "brier"}))


def described(embedded: Embedded, config: ZeroShotConfig) -> list[Outcome]:
    """The same by the descriptions, where the data have some and `zero_shot` does not use them already."""
    if not embedded.data.descriptions or config.templates == DESCRIPTIONS:
        return []
    return [zero_shot(embedded, replace(config, templates=DESCRIPTIONS), DESCRIBED)]


def by_template(embedded: Embedded, config: ZeroShotConfig) -> tuple[Template, ...]:
    """acc@1 with each template alone; nothing where there is only one."""
    pictures, target = labelled(embedded.data)
    templates = () if config.templates == DESCRIPTIONS else templates_of(embedded.data, config)
    found = []
    for template in templates if len(templates) > 1 else ():
        classes = class_vectors(embedded, prompts(embedded.data, replace(config, templates=(template,))))
        right = [classification.accuracy_at_k(scores, target[some], 1)
                 for some, scores in scored(embedded, pictures, classes)]
        found.append(Template(model=embedded.spec.name, template=template, figure="acc@1",
                              value=float(np.concatenate(right).mean())))
    return tuple(found)


def prompts(data: Dataset, config: ZeroShotConfig) -> list[list[str]]:
    """The texts of every class. ValueError for a class without a name or without a description."""
    write: Callable[[str], str] = canonical if config.canonicalise else str
    if config.templates == DESCRIPTIONS:
        if missing := [name for name in data.classes if not data.descriptions.get(name)]:
            raise ValueError(f"{len(missing)} of {len(data.classes)} classes of {data.name} have no description, such "
                             f"as {missing[0]!r}; give descriptions.json beside the data, or --descriptions FILE: "
                             '{"class": ["what it looks like", …], …}')
        return [[write(text) for text in data.descriptions[name]] for name in data.classes]
    templates = templates_of(data, config)
    return [[write(fill(template, name)) for template in templates] for name in names_of(data, config.language)]


def class_vectors(embedded: Embedded, texts: Sequence[Sequence[str]]) -> Float[np.ndarray, "classes dim"]:
    """The unit vector of every class: the mean over its texts."""
    vectors = embedded.texts([text for of_class in texts for text in of_class])
    means = np.stack([part.mean(axis=0) for part in np.split(vectors, np.cumsum([len(t) for t in texts])[:-1])])
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)


def scored(
    embedded: Embedded, pictures: Int[np.ndarray, " pictures"], classes: Float[np.ndarray, "classes dim"]
) -> Iterator[tuple[slice, Float[np.ndarray, "some classes"]]]:
    """The pictures' cosines with every class, a block of pictures at a time: which of them, and theirs."""
    size = max(1, _AT_ONCE // len(classes))
    for start in range(0, len(pictures), size):
        some = slice(start, start + size)
        yield some, embedded.images[pictures[some]] @ classes.T


def templates_of(data: Dataset, config: ZeroShotConfig) -> tuple[str, ...]:
    """What the names are put into."""
    if not isinstance(config.templates, str):
        return config.templates
    if config.templates != AUTO:
        return TEMPLATES[config.templates]
    return in_language(config.language) if config.language else data.templates or TEMPLATES[config.otherwise]


def names_of(data: Dataset, language: str = "") -> list[str]:
    """What the classes are called. ValueError names the languages that there are, and classes without a name."""
    if language and language not in data.names:
        raise ValueError(f"{data.name} has no class names in {language!r}; it has "
                         f"{', '.join(sorted(filter(None, data.names))) or 'none but its own'}")
    said = data.names.get(language, {})
    if language and (missing := [name for name in data.classes if name not in said]):
        raise ValueError(f"{len(missing)} classes of {data.name} have no name in {language!r}, such as {missing[0]!r}")
    return [said.get(name, name.replace("_", " ")) for name in data.classes]


def labelled(data: Dataset) -> tuple[Int[np.ndarray, " pictures"], Int[np.ndarray, " pictures"]]:
    """The pictures that are tested, and the number of the class of each. ValueError when there are none, and for fewer
    than two classes."""
    if len(data.classes) < 2:
        raise ValueError(f"{data.name} has {len(data.classes)} classes ({', '.join(data.classes) or 'no labels'}); "
                         "zero-shot classification tells two or more apart")
    number = {name: at for at, name in enumerate(data.classes)}
    pictures = [i for i in tested(data) if data.labels[i]]
    if not pictures:
        raise ValueError(f"no picture of {data.name} that is tested has {'one class' if data.tags else 'a class'}")
    return np.array(pictures), np.array([number[data.labels[i]] for i in pictures])


def _confidence(scores: Float[np.ndarray, "pictures classes"], scale: float) -> Float[np.ndarray, " pictures"]:
    """The largest share of a softmax over the classes."""
    logits = scale * (scores - scores.max(axis=1, keepdims=True)).astype(np.float64)
    return 1 / np.exp(logits).sum(axis=1)
