"""What lies beside the data about their classes: names in columns and files, descriptions in both published forms."""

import json

import pytest
from layouts import classified, export, opened, put, write
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


def test_files_name_each_of_two_classes_that_are_called_the_same(tmp_path):
    root = export(tmp_path / "x", [classified(3, 3)], classes=["missile", "tench", "missile"])
    write(root, "classnames.de.txt", "Rakete\nSchlei\u2028e\nFlugkörper\n")
    data = open_dataset(root / "test")
    assert data.names["de"] == {"missile (0)": "Rakete", "tench": "Schlei\u2028e", "missile (2)": "Flugkörper"}
    assert prompts(data, ZeroShotConfig(templates="plain", language="de"))[2] == ["Flugkörper"]


def test_descriptions_are_of_labels_or_of_what_those_are_called(tmp_path):
    root = export(tmp_path / "x", [classified(3, 3)], classes=["missile", "tench", "missile"])
    path = write(tmp_path, "said.json", {
        "missile": ["fins"], "Tench": ["a red eye"], "missile (2)": ["A missile is thrown."]})
    data = described(open_dataset(root / "test"), path)
    assert data.descriptions == {"missile (0)": ("missile, which has fins",), "missile (2)": ("A missile is thrown.",),
                                 "tench": ("tench, which is a red eye",)}
    assert len(prompts(data, ZeroShotConfig(templates="descriptions"))) == 3
    with pytest.raises(ValueError, match=r"describes 'x', and .* the classes 'missile', 'tench', 'missile'; its"):
        described(data, write(tmp_path, "said.json", {"x": ["fins"]}))


def test_descriptions_lie_beside_the_data_or_beside_the_names_of_their_classes(tmp_path):
    root = export(tmp_path / "x", [classified(2, 2)], classes=["eel", "tench"])
    write(root, "descriptions.json", {"tench": ["fins"], "eel": ["teeth"]})
    assert open_dataset(root / "test").descriptions == {
        "eel": ("eel, which has teeth",), "tench": ("tench, which has fins",)}
    write(root, "test/descriptions.json", {"tench": ["a tail"]})
    assert open_dataset(root / "test").descriptions == {"tench": ("tench, which is a tail",)}


def test_a_set_as_its_authors_publish_it_has_texts_beside_it(tmp_path):
    put(tmp_path, "val/n01440764/a.JPEG", "val/n04008634/b.JPEG", "val/n03773504/c.JPEG")
    before = opened("imagenet1k", tmp_path)
    write(tmp_path, "descriptions.json", {"tench": ["A tench is a fish."], "missile": ["fins"]})
    data = opened("imagenet1k", tmp_path)
    assert data.descriptions["n01440764"] == ("A tench is a fish.",) and data.sha256 != before.sha256
    assert data.descriptions["n03773504"] == data.descriptions["n04008634"] == ("missile, which has fins",)
    write(tmp_path, "classnames.txt", "n01440764\nn04008634\nn03773504\n")
    write(tmp_path, "classnames.de.txt", "Schleie\nRakete\nFlugkörper\n")
    assert opened("imagenet1k", tmp_path).names["de"]["n04008634"] == "Rakete"


def test_descriptions_above_the_data_are_of_something_else_unless_the_classes_are_there(tmp_path):
    write(tmp_path, "descriptions.json", [1])
    (tmp_path / "pictures").mkdir()
    assert not with_texts(dataset([CAT, DOG]), tmp_path / "pictures").descriptions


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
