"""Domain shift: a linear probe that learns in one domain (photos) and is tested in another (sketches), for all pairs.

The domains are the values of a column; the classes are those that every domain has. Every domain teaches with equally
many pictures of each class, so that a row of the matrix does not tell who had more data. The decay is one for all: the
one that does best on validation in the domains themselves. What is the same thing in two domains (two drawings of one
idea) is on one side of the split, or an answer would be learnt elsewhere by heart.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from diptych.core import telemetry
from diptych.data import dedup, draws
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.metrics import classification
from diptych.evaluation.metrics.sums import OfSums, Sums, Worth, each_alike
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.probes import scaled
from diptych.evaluation.regression import best_decay, fit
from diptych.evaluation.split import Split, SplitConfig, column_of, split
from diptych.evaluation.zero_shot import ZeroShotConfig, class_vectors, prompts

TASK = "domains"
ZERO_SHOT = "zero_shot"
FROM = "acc@1_from_"
"""Before the name of the domain that a probe learnt in."""


@dataclass(frozen=True, kw_only=True)
class DomainsConfig:
    """`column` is the domain's; None: the data's own, else "domain". A class counts with at least `least` pictures in
    every domain. `zero_shot` says how classes are written for a probe that learnt nowhere."""

    column: str | None = None
    least: int = 5
    split: SplitConfig = field(default_factory=lambda: SplitConfig(test=0.5))
    iterations: int = 300
    zero_shot: ZeroShotConfig = field(default_factory=ZeroShotConfig)

    def __post_init__(self):
        if self.least < 3 or self.iterations < 1:
            raise ValueError(f"least is at least 3 pictures, to learn, tune and test with, and iterations at least 1; "
                             f"got {self.least} and {self.iterations}")


def domains(embedded: Embedded, config: DomainsConfig) -> Outcome:
    """Samples are the test pictures of all domains. "acc@1_from_NAME" is the accuracy of what was learnt in a domain,
    and "acc@1_zero_shot" that of class names; sliced by the domain that is tested they are the cells of a matrix.
    "in_domain" is the mean of its diagonal, "out_of_domain" of the rest, "gap" how much less that is, and
    "worst_out_of_domain" the least cell. A cell counts like another, however many pictures it has.

    ValueError for a column that is not there, fewer than two domains, and fewer than two classes that all of them have.
    """
    task = _Task.of(embedded.data, config)
    data, parts, count = task.data, task.parts, len(task.domains)
    taught = [task.taught(parts.train, at, config.split.seed) for at in range(count)]
    tuned = [parts.val[task.domain[parts.val] == at] for at in range(count)]
    features = scaled(embedded.images, np.concatenate(taught))

    def learnt(pictures: Int[np.ndarray, " some"], decay: float) -> Callable[[Int[np.ndarray, " some"]], np.ndarray]:
        found = fit(features[pictures], task.target[pictures], len(data.classes), decay, config.iterations)
        bar.advance()
        return lambda asked: classification.accuracy_at_k(found.logits(features[asked]), task.target[asked], 1)

    with telemetry.progress(f"{embedded.spec.name}: domains", None, "fits") as bar:
        decay = best_decay(lambda decay: float(np.mean([
            learnt(own, decay)(asked).mean() for own, asked in zip(taught, tuned, strict=True) if len(asked)])))
        known = np.concatenate([parts.train, parts.val])
        right = np.stack([learnt(task.taught(known, at, config.split.seed), decay)(parts.test) for at in range(count)])
    values = {f"{FROM}{name}": own for name, own in zip(task.domains, right, strict=True)}
    cosines = embedded.images[parts.test] @ class_vectors(embedded, prompts(data, config.zero_shot)).T
    values[f"acc@1_{ZERO_SHOT}"] = classification.accuracy_at_k(cosines, task.target[parts.test], 1)
    chance = 1 / len(data.classes)
    figures = _figures(right, task.domain[parts.test])
    return Outcome(
        task=TASK, ids=[data.ids[picture] for picture in parts.test], values=values, statistics=figures,
        groups=[str(task.thing[picture]) for picture in parts.test],
        slices={task.column: [task.domains[at] for at in task.domain[parts.test]]},
        details={"expected": [data.labels[picture] for picture in parts.test]},
        chance={name: chance for name in (*values, *figures) if name != "gap"}, lower=frozenset({"gap"}),
        amounts=frozenset({"gap"}))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """`data` with the shared classes as labels; `domain`, `target` and `thing` of every picture by number, the first
    two −1 where it has none."""

    data: Dataset
    column: str
    domains: tuple[str, ...]
    domain: Int[np.ndarray, " pictures"]
    target: Int[np.ndarray, " pictures"]
    thing: Int[np.ndarray, " pictures"]
    parts: Split

    @classmethod
    def of(cls, data: Dataset, config: DomainsConfig) -> "_Task":
        """What there is to learn, and in which parts."""
        column = config.column or data.roles.get("domain", "domain")
        where = column_of(data, column)
        labels = column_of(data, data.roles["domain_class"]) if "domain_class" in data.roles else data.labels
        thing = _things(data)
        different = Counter(pair for pair, _ in {((where[i], labels[i]), thing[i]) for i in range(len(data))
                                                 if where[i] and labels[i]})
        names = tuple(sorted({domain for domain, _ in different}))
        if len(names) < 2:
            raise ValueError(f"column {column!r} of {data.name} has one domain with classes ({', '.join(names)}); a "
                             "shift is between two")
        classes = tuple(name for name in sorted({name for _, name in different})
                        if all(different[domain, name] >= config.least for domain in names))
        if len(classes) < 2:
            least = min(names, key=lambda domain: sum(n for (d, _), n in different.items() if d == domain))
            raise ValueError(f"{len(classes)} classes of {data.name} have {config.least} different pictures in each of "
                             f"{len(names)} domains, and a probe needs 2; {least!r} has the fewest pictures: leave it "
                             "out, or set domains.least lower")
        kept = [label if label in classes and domain else "" for label, domain in zip(labels, where, strict=True)]
        data = replace(data, labels=tuple(kept), classes=classes)
        cells = [f"{label} in {domain}" if label else "" for label, domain in zip(kept, where, strict=True)]
        found = split(replace(data, same=tuple(thing.tolist())), cells, config.split)
        number = {name: at for at, name in enumerate(classes)}
        return cls(
            data=data, column=column, domains=names, thing=thing, parts=found,
            domain=np.array([names.index(domain) if domain else -1 for domain in where], np.int64),
            target=np.array([number.get(label, -1) for label in kept], np.int64))

    def taught(self, known: Int[np.ndarray, " known"], domain: int, seed: int) -> Int[np.ndarray, " some"]:
        """Of a domain's pictures of each class among these, as many as the poorest domain has."""
        most = np.min([np.bincount(self.target[known[self.domain[known] == at]], minlength=len(self.data.classes))
                       for at in range(len(self.domains))], axis=0)
        order = sorted(known[self.domain[known] == domain].tolist(),
                       key=lambda picture: draws.draw(seed, "domains", self.data.ids[picture]))
        left, found = most, list[int]()
        for picture in order:
            if left[self.target[picture]]:
                left[self.target[picture]] -= 1
                found.append(picture)
        return np.array(found, np.int64)


def _things(data: Dataset) -> Int[np.ndarray, " pictures"]:
    """The first picture of those with the same pixels, or of the same thing in the role "thing"."""
    columns: list[Sequence[object]] = [data.same] if data.same else []
    if "thing" in data.roles:
        columns.append(column_of(data, data.roles["thing"]))
    pairs: list[tuple[int, int]] = []
    for column in columns:
        first: dict[object, int] = {}
        pairs += [(first.setdefault(value, picture), picture) for picture, value in enumerate(column) if value != ""]
    return dedup.groups(len(data), np.array(pairs, np.int64).reshape(-1, 2))


def _figures(right: Float[np.ndarray, "domains test"], domain: Int[np.ndarray, " test"]) -> dict[str, OfSums]:
    """Of the matrix of accuracies, learnt in × tested in. NaN where a domain has no weight, as in a slice by domain."""
    count = len(right)
    own = np.eye(count, dtype=bool)
    columns = np.concatenate([right, np.ones((1, len(domain)))]).T

    def of_cells(
        figure: Callable[[Float[np.ndarray, "draws domains domains"]], Float[np.ndarray, " draws"]],
        worth: Worth = each_alike,
    ) -> OfSums:
        def of(sums: Sums) -> Float[np.ndarray, " draws"]:
            sums, weight = sums[:, :, :-1], sums[:, :, -1:]
            found = np.divide(sums, weight, out=np.full(sums.shape, np.nan), where=weight > 0)
            return figure(found) if sums.shape[1] == count else np.full(len(sums), np.nan)

        return OfSums(cell=domain, columns=columns, figure=of, worth=worth)

    def inside(cells: Float[np.ndarray, "draws domains domains"]) -> Float[np.ndarray, " draws"]:
        return cells[:, own].mean(axis=1)

    def outside(cells: Float[np.ndarray, "draws domains domains"]) -> Float[np.ndarray, " draws"]:
        return cells[:, ~own].mean(axis=1)

    return {"in_domain": of_cells(inside), "out_of_domain": of_cells(outside),
            "gap": of_cells(lambda cells: inside(cells) - outside(cells)),
            "worst_out_of_domain": of_cells(lambda cells: cells[:, ~own].min(axis=1), min)}
