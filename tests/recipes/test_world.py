"""What the recipe makes of the corpora before any training."""

from diptych.data.captions import Captions, Named
from diptych.recipes.tiny.world import english_rows


def named(concept: str, language: str, name: str, *keywords: str) -> Named:
    return Named(concept=concept, language=language, name=name, keywords=keywords)


def test_every_name_means_the_english_one_and_nothing_else_moves():
    captions = Captions(
        [named("1f34e", "en", "red apple", "fruit"), named("1f34e", "de", "roter apfel", "obst"),
         named("1f3a8", "de", "palette"), named("1f4f7", "en", "camera"), named("1f4f7", "nl", "camera"),
         named("1f355", "en", "pizza"), named("1f355", "de", "camera")],
        ["1f34e", "1f3a8", "1f4f7", "1f355"], {"en": 1.0, "de": 1.0, "nl": 1.0})
    row = {text: i for i, text in enumerate(captions.texts)}
    means = {text: int(english_rows(captions, nouns=2)[i]) for text, i in row.items()}
    assert means["roter apfel"] == means["red apple"] == row["red apple"]
    assert all(means[text] == row[text] for text in ("fruit", "obst", "palette", "camera", "pizza"))
    assert list(english_rows(captions, nouns=2)[len(row):]) == [len(row), len(row) + 1]
