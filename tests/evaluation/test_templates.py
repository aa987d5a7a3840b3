"""Template sets against open_clip's copies, and what may be done with them."""

import runpy
from importlib.metadata import distribution

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.data.pictograms import XM3600
from diptych.evaluation.templates import TEMPLATES, canonical, fill, in_language


def published(name):
    """The set as open_clip has it: functions of a class name. Its file is run alone; the package needs torchvision."""
    file = distribution("open_clip_torch").locate_file("open_clip/zero_shot_metadata.py")
    return [template("{}") for template in runpy.run_path(str(file))[name]]


def test_clips_sets_are_the_published_ones():
    assert list(TEMPLATES["clip80"]) == published("OPENAI_IMAGENET_TEMPLATES") and len(TEMPLATES["clip80"]) == 80
    assert list(TEMPLATES["clip7"]) == published("SIMPLE_IMAGENET_TEMPLATES") and len(TEMPLATES["clip7"]) == 7
    assert set(TEMPLATES["clip7"]) < set(TEMPLATES["clip80"])
    assert TEMPLATES["siglip"] == ("This is a photo of {}.",) and TEMPLATES["plain"] == ("{}",)


def test_every_template_has_one_place_and_is_there_once():
    for templates in (*TEMPLATES.values(), *map(in_language, XM3600)):
        assert len(set(templates)) == len(templates) > 0
        for template in templates:
            assert fill(template, "{x}") == template.replace("{}", "{x}") and "  " not in template


def test_there_are_templates_in_the_corpus_languages_and_else_the_name_alone():
    sets = [in_language(code) for code in XM3600]
    assert all(len(templates) == 2 for templates in sets)
    assert in_language("ja") == ("{}の写真", "{}の画像") and in_language("fi") == ("valokuva: {}", "kuva: {}")
    assert in_language("tlh") == ("{}",)


@pytest.mark.parametrize("template", ["a photo", "", "{} and {}", "a photo of a {label}."])
def test_a_template_without_one_place_is_refused(template):
    with pytest.raises(ValueError, match=r"one \{\} where the class name goes"):
        fill(template, "cat")


def test_sets_cannot_be_changed():
    with pytest.raises(TypeError):
        TEMPLATES["plain"] = ("a {}",)


def test_canonical_as_big_vision_has_it():
    assert canonical("Ice_Cream, (soft-serve)!") == "ice cream softserve"
    assert canonical(fill("This is a photo of {}.", "T_shirt")) == "this is a photo of t shirt"


@given(st.text(max_size=40))
def test_canonical_twice_is_canonical(name):
    once = canonical(name)
    assert canonical(once) == once and "_" not in once
