"""What lies beside the data about their classes: names in columns and files, descriptions in both published forms."""

import json

import pytest
from layouts import classified, export, write
from worlds import dataset

from diptych.evaluation.classes import described, with_texts
from diptych.evaluation.sets import open_dataset
from diptych.evaluation.zero_shot import ZeroShotConfig, prompts

CAT, DOG = "tabby_cat", "dog"


def test_columns_name_classes_in_other_languages_and_codes_do_not(tmp_path):
    data = dataset([CAT, DOG, CAT, ""], {
        "label_de": ["", "Hund", "Katze", "nichts"], "class_zh": ["猫", "狗", "猫", ""],
        "label_id": ["n02123045", "n02084071", "7", ""], "label_no": ["0", "1", "0", ""],
        "label_raw": ["x", "y", "x", "z"], "camera": ["a", "b", "a", "b"]})
    found = with_texts(data, tmp_path)
    assert found.names == {"de": {CAT: "Katze", DOG: "Hund"}, "zh": {CAT: "猫", DOG: "狗"}}
    assert set(found.columns) == {"label_id", "label_no", "label_raw", "camera"}
    assert prompts(found, ZeroShotConfig(language="de")) == [
        ["Foto: Hund", "Bild: Hund"], ["Foto: Katze", "Bild: Katze"]]


def test_files_name_classes_line_by_line(tmp_path):
    (tmp_path / "classnames.txt").write_text(f"{CAT}\n{DOG}\n")
    (tmp_path / "classnames.fr.txt").write_text("chat\nchien\n")
    assert with_texts(dataset([CAT, DOG]), tmp_path / "0.tar").names == {"fr": {CAT: "chat", DOG: "chien"}}
    (tmp_path / "classnames.de.txt").write_text("Katze\n")
    with pytest.raises(ValueError, match=r"classnames.de.txt has 1 lines and classnames.txt beside it 2"):
        with_texts(dataset([CAT, DOG]), tmp_path)


def test_descriptions_are_of_labels_or_of_what_those_are_called(tmp_path):
    root = export(tmp_path / "x", [classified(3, 3)], classes=["missile", "tench", "missile"])
    path = write(tmp_path, "said.json", {
        "missile": ["fins"], "Tench": ["a red eye"], "missile (2)": ["A missile is thrown."]})
    data = described(open_dataset(root / "test"), path)
    assert data.descriptions == {"missile (0)": ("missile, which has fins",), "missile (2)": ("A missile is thrown.",),
                                 "tench": ("tench, which is a red eye",)}
    assert len(prompts(data, ZeroShotConfig(templates="descriptions"))) == 3
    with pytest.raises(ValueError, match="describes 'x', and .* has the classes 'missile', 'tench', 'missile'; its keys"):
        described(data, write(tmp_path, "said.json", {"x": ["fins"]}))


def test_descriptions_are_sentences_or_features(tmp_path):
    path = tmp_path / "descriptions.json"
    path.write_text(json.dumps({"Tabby cat": ["A cat has stripes.", "long tail", "often grey", "used to mice", ""],
                                "dog": ["the snout of a dog"], "bird": ["wings"]}))
    found = with_texts(dataset([CAT, DOG]), tmp_path).descriptions
    assert found == {DOG: ("the snout of a dog",), CAT: (
        "A cat has stripes.", "tabby cat, which has long tail", "tabby cat, which often grey",
        "tabby cat, which is used to mice")}


@pytest.mark.parametrize(("text", "says"), [
    ("{", "cannot be read"), ("[1]", 'is not {"class"'), ('{"cat": "fur"}', 'is not {"class"'),
    ('{"ant": ["legs"]}', "describes 'ant', and made up has the classes 'dog', 'tabby_cat'")])
def test_descriptions_that_are_none_are_told(tmp_path, text, says):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(ValueError, match=says):
        described(dataset([CAT, DOG]), tmp_path / "d.json")


def test_a_class_without_a_description_is_told(tmp_path):
    (tmp_path / "d.json").write_text('{"dog": ["four legs"]}')
    with pytest.raises(ValueError, match="1 of 2 classes of made up have no description, such as 'tabby_cat'; give"):
        prompts(described(dataset([CAT, DOG]), tmp_path / "d.json"), ZeroShotConfig(templates="descriptions"))
