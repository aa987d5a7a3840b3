"""A comparison as an evaluation would make it: three models, sixty drawn pictures, everything that a report can show.

The numbers are drawn from a fixed seed around plausible truths; intervals are normal, so that they hang together.
"""

import base64
import io
import math
from itertools import combinations

import numpy as np
from PIL import Image, ImageDraw

from diptych.evaluation.report.verdict import verdict
from diptych.evaluation.result import (
    Bin,
    Cell,
    Comparison,
    Confusion,
    Cost,
    Curve,
    Data,
    Described,
    Difference,
    Figure,
    Found,
    Grid,
    History,
    Model,
    Point,
    Provenance,
    Rate,
    Template,
    Views,
)

MODELS = {"siglip2-base-patch16-224": 0.84, "diptych-tiny": 0.83, "mobileclip-s0": 0.71}
COLOURS = {"red": "#c0392b", "green": "#27ae60", "blue": "#2471a3", "yellow": "#f1c40f"}
THINGS = ("circle", "square", "triangle")
LANGUAGES = {"en": 0.03, "de": 0.0, "es": 0.01, "ja": -0.08, "ko": -0.14, "ar": -0.1, "hi": -0.21}
TEMPLATES = ("a photo of a {label}.", "a drawing of a {label}.", "{label}", "This is a photo of {label}.",
             "a small {label}", "an icon of a {label}", "a bad photo of the {label}.", "itap of a {label}.")
CLASSES = tuple(f"{colour} {thing}" for colour in COLOURS for thing in THINGS)
PICTURES = 60


def comparison(**changes) -> Comparison:
    """All views, every task."""
    headline, costs = ("zero_shot", "acc@1"), _costs()
    figures, differences = _figures()
    whole = Comparison(
        provenance=Provenance(
            created="2026-03-02T10:15:00+00:00", seed=7, suite="pictograms",
            versions={"diptych": "0.1.0", "torch": "2.9.0", "numpy": "2.4.6", "python": "3.13.1"},
            hardware="Intel Xeon, 2 cores, 8 GB; torch on 2 threads",
            seconds={"read": 3.2, "embed": 141.0, "tasks": 18.4, "statistics": 9.1, "costs": 63.0},
            left_out={"winoground": "pictograms has no pairs of captions that swap the same words"}),
        data=Data(name="pictograms", sha256="5f" * 32, revision="v5",
                  counts={"pictures": 1200, "captions": 8400, "classes": 12, "languages": len(LANGUAGES)},
                  skipped=(("photos/IMG_0042.jpg", "not a picture"), ("photos/IMG_0107.jpg", "not a picture"),
                           ("photos/huge.png", "too many pixels"))),
        models=tuple(Model(
            name=name, fingerprint=f"{i}c" * 32, dim=(768, 256, 512)[i], image_size=(224, 128, 256)[i],
            languages=tuple(LANGUAGES) if i < 2 else ("en",), score_kind="sigmoid" if i < 2 else "softmax",
            precision="float32", runtime="torch", general=i != 1) for i, name in enumerate(MODELS)),
        headline=headline,
        sentences=verdict(headline, figures, differences, costs),
        figures=figures, differences=differences, costs=costs, views=_views(), history=_history(figures, differences))
    return Comparison(**{**vars(whole), **changes})


def _history(figures, differences):
    rng, then = np.random.default_rng(5), "2026-03-01T10:15:00+00:00"
    main = [f for f in figures if (f.task, f.name, f.slice) == ("zero_shot", "acc@1", "")]
    trend = [Point(created=f"2026-{2 + day // 28:02}-{1 + day % 28:02}T10:15:00+00:00", model=f.model, task=f.task,
                   name=f.name, value=value, low=value - 0.02, high=value + 0.02)
             for day in range(30) for f in main for value in [float(f.value + rng.normal(0, 0.01))]]
    changes = [Difference(**{**vars(d), "model": m, "other": f"{m}, {then[:10]}"})
               for d, m in zip(differences, MODELS, strict=False)]
    return History(before=then, differences=tuple(changes), trend=tuple(trend))


def thumbnail(number: int) -> str:
    """Picture `number` as a data URI."""
    colour, thing = CLASSES[number % len(CLASSES)].split()
    rng = np.random.default_rng(number)
    picture = Image.new("RGB", (96, 96), tuple(int(v) for v in rng.integers(225, 256, 3)))
    draw, low, high = ImageDraw.Draw(picture), 14 + int(rng.integers(0, 12)), 82 - int(rng.integers(0, 12))
    if thing == "circle":
        draw.ellipse((low, low, high, high), fill=COLOURS[colour])
    elif thing == "square":
        draw.rectangle((low, low, high, high), fill=COLOURS[colour])
    else:
        draw.polygon(((48, low), (high, high), (low, high)), fill=COLOURS[colour])
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def name(number: int) -> str:
    """The id of picture `number`."""
    return f"{CLASSES[number % len(CLASSES)].replace(' ', '-')}-{number:02}"


def _figure(model, task, figure, value, count, *, slice_="", chance=None, better="higher") -> Figure:
    half = 1.96 * math.sqrt(max(value * (1 - value), 1e-4) / count)
    return Figure(model=model, task=task, name=figure, slice=slice_, value=value, low=max(0.0, value - half),
                  high=min(1.0, value + half), count=count, chance=chance, better=better)


def _figures():
    rng = np.random.default_rng(3)
    figures, differences = [], []
    for model, skill in MODELS.items():
        def add(task, name, value, count=1200, model=model, noise=0.004, **more):
            value = float(np.clip(value + rng.normal(0, noise), 0, 1))
            figures.append(_figure(model, task, name, value, count, **more))

        add("zero_shot", "acc@1", skill, chance=1 / 12)
        add("zero_shot", "acc@5", skill ** 0.3, chance=5 / 12)
        add("zero_shot", "mean_per_class_recall", skill - 0.02, chance=1 / 12)
        add("zero_shot", "ece", 0.11 - 0.1 * (skill - 0.7), better="lower")
        for language, shift in LANGUAGES.items():
            foreign = 0.0 if language == "en" or skill > 0.75 else -0.35
            add("zero_shot", "acc@1", skill + shift + foreign, 1200, slice_=f"language={language}", noise=0.01)
            add("retrieval", "hit@1", skill - 0.2 + shift + foreign, 1200, slice_=f"language={language}", noise=0.01)
        for domain, shift in (("noto", 0.02), ("openmoji", -0.01), ("twemoji", 0.01), ("line art", -0.16)):
            add("zero_shot", "acc@1", skill + shift, 300, slice_=f"domain={domain}", noise=0.015)
        for k, gain in ((1, 0.0), (5, 0.17), (10, 0.22)):
            add("retrieval", f"hit@{k}", skill - 0.2 + gain, 8400, chance=k / 1200)
        add("retrieval", "recall@10", skill - 0.11, 8400, chance=10 / 1200)
        add("retrieval", "ndcg@10", skill - 0.15, 8400)
        add("compositional", "text", skill - 0.22, 640, chance=0.5)
        add("compositional", "image", skill - 0.31, 640, chance=0.5)
        add("compositional", "group", skill - 0.42, 640, chance=1 / 6)
        add("robustness", "retention", skill + 0.05, 1200)
        add("robustness", "acc_corrupt", skill * (skill + 0.05), 1200, chance=1 / 12)
        add("zero_shot by tone", "worst_group_acc@1", skill - 0.13, 400, chance=1 / 12)
        add("zero_shot by tone", "gap_acc@1", 0.2 - 0.1 * skill, 400, better="lower")
        add("skew of tone", "max_skew@10", 0.52 - 0.3 * skill, 400, better="lower")
        for group, shift in (("light", 0.0), ("medium", -0.03), ("dark", -0.07)):
            add("zero_shot by tone", "worst_group_acc@1", skill + shift, 400, slice_=f"tone={group}", noise=0.01)
        for learnt in ("photo", "sketch"):
            add("domains", f"acc@1_from_{learnt}", skill - 0.1, 300, chance=1 / 4)
            for tested in ("photo", "sketch"):
                shift = 0.0 if learnt == tested else -0.2
                add("domains", f"acc@1_from_{learnt}", skill + shift, 150, slice_=f"domain={tested}", chance=1 / 4)
        add("domains", "out_of_domain", skill - 0.2, 300, chance=1 / 4)
        figures.append(Figure(model=model, task="dense", name="depth_rmse", value=1.2 - skill, low=math.nan,
                              high=math.nan, count=300, better="lower"))
    whole = {(f.model, f.task, f.name): f for f in figures if not f.slice}
    for task, figure in dict.fromkeys((task, figure) for _, task, figure in whole):
        for model, other in combinations(MODELS, 2):
            a, b = whole[model, task, figure], whole[other, task, figure]
            gap = a.value - b.value
            spread = 0.02 * math.sqrt(1200 / a.count)
            p = math.erfc(abs(gap) / (spread * 1.42))
            holm = min(1.0, 4 * p)
            better = (gap > 0) == (a.better == "higher")
            verdict = "not distinguishable" if holm >= 0.05 else "better" if better else "worse"
            differences.append(Difference(
                model=model, other=other, task=task, name=figure, value=gap, low=gap - 1.4 * spread,
                high=gap + 1.4 * spread, p=p, p_holm=holm, count=a.count, verdict=verdict,
                needed=int(a.count * (2.8 * spread / (2 * gap)) ** 2) + 1 if gap else None))
    return tuple(figures), tuple(differences)


def _costs() -> tuple[Cost, ...]:
    costs = []
    for i, (model, (load, memory, weights, single)) in enumerate(zip(MODELS, (
            (4.1, 1_840e6, 1_500e6, 0.096), (0.4, 310e6, 48e6, 0.0112), (0.9, 420e6, 215e6, 0.0168)), strict=True)):
        rates = []
        for what, factor in (("images", 1.0), ("texts", 0.35)):
            for batch, gain in ((1, 1.0), (8, 1.7), (32, 2.1)):
                p50 = single * factor * batch / gain
                rates.append(Rate(what=what, batch=batch, per_second=batch / p50, p50_s=p50, p95_s=p50 * 1.3))
        costs.append(Cost(model=model, load_s=load, peak_memory=int(memory), weights_bytes=int(weights),
                          vector_bytes=4 * (768, 256, 512)[i], image_gflops=(35.2, 1.4, 3.6)[i],
                          text_gflops=None if i == 2 else (5.9, 0.3)[i], rates=tuple(rates)))
    return tuple(costs)


def _views():
    rng = np.random.default_rng(11)
    return Views(grids=tuple(_grid(rng, number) for number in range(36)),
                 confusions=tuple(_confusion(rng, model, skill) for model, skill in MODELS.items()),
                 curves=tuple(_curve(model, skill) for model, skill in MODELS.items()),
                 templates=tuple(Template(model=model, template=template, figure="acc@1",
                                          value=float(skill - 0.02 - rng.gamma(1.5, 0.015)))
                                 for model, skill in MODELS.items() for template in TEMPLATES),
                 captions=tuple(_described(number) for number in range(8)),
                 thumbnails={name(i): thumbnail(i) for i in range(PICTURES)})


def _described(number):
    """The third model does not speak, and the second says one thing of all."""
    true = CLASSES[number % len(CLASSES)]
    models = list(MODELS)[:2]
    return Described(id=name(number), references=tuple(f"{article} {true}" for article in ("a", "one", "the", "some",
                                                                                         "this", "that", "my")),
                     said=dict(zip(models, (f"a {true}", "a red circle"), strict=True)),
                     cider=dict(zip(models, (3.2, 3.2 * (number == 0)), strict=True)))


def _grid(rng, number):
    colour, thing = CLASSES[number % len(CLASSES)].split()
    expected = [i for i in range(PICTURES) if CLASSES[i % len(CLASSES)] == f"{colour} {thing}"]
    found, rank = {}, {}
    for model, skill in MODELS.items():
        first = 1 + int(rng.geometric(skill)) - 1 if rng.uniform() < skill else int(rng.integers(2, 40))
        others = [i for i in rng.permutation(PICTURES) if i not in expected]
        ids = [others.pop() for _ in range(6)]
        if first <= 6:
            ids[first - 1] = expected[number // 12 % 5]
            for place in range(first, 6):
                if rng.uniform() < 0.5:
                    ids[place] = expected[(number // 12 + place) % 5]
        scores = np.sort(rng.uniform(0.12, 0.34, 6))[::-1]
        found[model] = tuple(Found(id=name(i), score=float(score), right=i in expected)
                             for i, score in zip(ids, scores, strict=True))
        rank[model] = first
    words = {"en": f"a {colour} {thing}", "de": f"ein {colour} {thing} (de)", "ja": f"{colour} {thing} の絵",
             "ar": f"صورة {colour} {thing}"}
    language = ("en", "de", "ja", "ar")[number // 12 % 4]
    return Grid(query=words[language] + ("" if number < 12 else f", number {number}"), language=language,
                expected=tuple(name(i) for i in expected), found=found, rank=rank)


def _confusion(rng, model, skill):
    cells = []
    for i, true in enumerate(CLASSES):
        members = [name(k) for k in range(PICTURES) if k % len(CLASSES) == i]
        for predicted in CLASSES:
            near = (true.split()[0] == predicted.split()[0]) + (true.split()[1] == predicted.split()[1])
            count = int(100 * skill) if true == predicted else int(rng.poisson(4 * (1 - skill) * near * 4))
            if count:
                cells.append(Cell(true=true, predicted=predicted, count=count, ids=tuple(members[:count])))
    return Confusion(model=model, classes=CLASSES, cells=tuple(cells))


def _curve(model, skill):
    said = np.linspace(0.05, 0.95, 10)
    return Curve(model=model, task="zero_shot", bins=tuple(
        Bin(said=float(s), right=float(np.clip(s + (skill - 0.85) * math.sin(3 * s), 0, 1)), count=int(40 + 260 * s**2))
        for s in said))
