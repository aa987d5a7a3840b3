"""What the recipe makes of the corpora before any training."""

import pytest

from diptych.core.config import override
from diptych.data.captions import Captions, Named
from diptych.models.efficientnet import STAGES
from diptych.recipes.tiny import BLOCKS, tiny
from diptych.recipes.tiny.world import english_rows


def named(concept: str, language: str, name: str, *keywords: str) -> Named:
    return Named(concept=concept, language=language, name=name, keywords=keywords)


def test_every_name_means_the_english_one_and_nothing_else_moves():
    captions = Captions(
        [named("1f34e", "en", "red apple", "fruit"), named("1f34e", "de", "roter apfel", "obst"),
         named("1f3a8", "de", "palette"), named("1f4f7", "en", "camera"), named("1f4f7", "nl", "camera"),
         named("1f355", "en", "pizza"), named("1f355", "de", "camera"), named("1f355", "nl", "fruit")],
        ["1f34e", "1f3a8", "1f4f7", "1f355"], {"en": 1.0, "de": 1.0, "nl": 1.0})
    row = {text: i for i, text in enumerate(captions.texts)}
    means = {text: int(english_rows(captions, others=2)[i]) for text, i in row.items()}
    assert means["roter apfel"] == means["red apple"] == row["red apple"]
    assert all(means[text] == row[text] for text in ("fruit", "obst", "palette", "camera", "pizza"))
    assert list(english_rows(captions, others=2)[len(row):]) == [len(row), len(row) + 1]


@pytest.mark.parametrize("setting", ["late_blocks=17", "late_blocks=-1", 'held_out_vendors=["noto", "openmoji"]',
                                     "held_out_vendors=[]", "image_size=96", "mix.english=0.99"])
def test_settings_that_make_no_recipe_are_refused_at_once(setting):
    with pytest.raises(ValueError, match=r"late_blocks|unseen vendor|image_size|must not exceed 1"):
        override(tiny(), [setting])


def test_all_blocks_of_the_trunk_can_be_late():
    assert sum(stage.repeats for stage in STAGES) == BLOCKS
