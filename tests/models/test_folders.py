"""Finding a model by name, folder or file: each way in which it can declare itself, and what is said otherwise."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_towers import clip_towers, huggingface_clip, max_gap, random_towers, siglip_towers, tokenizer_json
from test_huggingface import entry

import diptych
from diptych.core.errors import CheckpointError, ModelNotFound
from diptych.inputs.tokenizer import train_bpe
from diptych.models import checkpoints
from diptych.models.checkpoints import catalog, folders, layouts, loading
from diptych.models.checkpoints.entry import Weights

SMALL = dataclasses.replace(
    entry("huggingface_clip", clip_towers()), name="small-clip", aliases=("ViT-S::test",),
    weights=(Weights(layout="huggingface_clip", repo="someone/small-clip"),
             Weights(layout="open_clip", repo="someone/other", file="open_clip_model.safetensors")))


@pytest.fixture(autouse=True)
def catalogued(monkeypatch):
    monkeypatch.setattr(catalog, "CATALOGUE", (SMALL, *catalog.CATALOGUE))


@pytest.fixture
def towers():
    return random_towers(clip_towers())


def write(folder, towers, layout, file="model.safetensors"):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(layouts.write(towers.state_dict(), clip_towers(), layout), folder / file)
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder


@pytest.mark.parametrize(("layout", "file"), [("huggingface_clip", "model.safetensors"),
                                              ("open_clip", "open_clip_model.safetensors")])
def test_a_pulled_model_is_found_by_any_of_its_names_whichever_file_is_there(own_home, towers, layout, file):
    write(own_home / "models" / "small-clip", towers, layout, file)
    for name in ("small-clip", "SMALL-CLIP", "ViT-S::test", "someone/small-clip", "someone/other"):
        found = folders.find(name)
        assert (found.entry, found.weights.layout, found.path.name) == (SMALL, layout, file)
        assert torch.equal(checkpoints.load(name).image.position, towers.image.position)
    assert folders.best_general() == "small-clip" and folders.local_models() == ["small-clip", "diptych-tiny"]


def test_exported_towers_are_no_model_to_open(tmp_path):
    (tmp_path / "diptych.json").write_text("{}")
    with pytest.raises(CheckpointError, match="Diptych opens the model that they were made of"):
        folders.find(tmp_path)


def test_a_folder_or_file_that_does_not_declare_itself_needs_to_be_told(tmp_path, towers, own_home):
    folder = write(tmp_path / "mine", towers, "open_clip", "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match="does not say what it holds"):
        folders.find(folder)
    assert folders.find(folder, like="ViT-S::test").weights.layout == "open_clip"
    with pytest.raises(CheckpointError, match=r"is no file of weights: those are \.safetensors, \.pt"):
        folders.find(folder / "tokenizer.json")
    (tmp_path / "nothing.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"shaped as, e\.g\. --like ViT-B-32::laion2b_s34b_b79k \(in Python like"):
        folders.find(tmp_path / "nothing.pt")
    pickled = tmp_path / "epoch_3.pt"
    published = layouts.write(towers.state_dict(), clip_towers(), "open_clip")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in published.items()}}, pickled)
    weights = Weights(layout="open_clip", repo="someone/other", file="open_clip_pytorch_model.pt")
    tuned = dataclasses.replace(SMALL, name="tuned", aliases=(), weights=(weights,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "CATALOGUE", (tuned,))
        assert max_gap(checkpoints.load(pickled, like="tuned").image.position, towers.image.position) == 0
        with pytest.raises(CheckpointError, match=r"has no tokenizer .* put tuned's tokenizer\.json beside the file"):
            loading.load_embedder(pickled, like="tuned")
        relative = dataclasses.replace(tuned, name="relative")
        patch.setattr(catalog, "CATALOGUE", (tuned, relative))
        write(own_home / "models" / "relative", towers, "open_clip", "open_clip_pytorch_model.pt")
        assert folders.find(pickled, like="tuned").tokenizer == own_home / "models" / "relative" / "tokenizer.json"
        shutil.copy(folder / "tokenizer.json", tmp_path)
        assert loading.load_embedder(pickled, like="tuned").spec.name == "tuned"


def test_source_json_names_the_model_whatever_the_folder_is_called(tmp_path, towers):
    folder = write(tmp_path / "renamed", towers, "huggingface_clip")
    source = folders.Source(name="small-clip", repo="someone/small-clip", revision="c0ffee", files={})
    (folder / "source.json").write_text(json.dumps(dataclasses.asdict(source)))
    assert folders.find(folder).entry is SMALL
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"is not a whole small-clip: it lacks model\.safetensors or open_clip"):
        folders.find(folder)


def test_names_that_are_not_here_are_answered_with_what_to_do():
    with pytest.raises(ModelNotFound, match="the nearest is 'siglip2-base-patch16-256'"):
        folders.find("siglip2-base-patch16-265")
    with pytest.raises(ModelNotFound, match="get it with `diptych models pull small-clip`"):
        folders.find("ViT-S::test")


def test_weights_that_overflowed_are_refused_by_name(tmp_path, towers):
    published = layouts.write(towers.state_dict(), clip_towers(), "huggingface_clip")
    published["visual_projection.weight"][0, 0] = float("inf")
    folder = tmp_path / "small-clip"
    folder.mkdir()
    save_file({k: v.half() for k, v in published.items()}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"image\.projection\.weight"):
        checkpoints.load(folder)


def test_image_and_patch_size_are_part_of_what_is_loaded(own_home, towers):
    write(own_home / "models" / "small-clip", towers, "huggingface_clip")
    plain, larger = (diptych.load_model("small-clip", image_size=size) for size in (None, 64))
    assert (plain.spec.image_size, larger.spec.image_size) == (32, 64)
    assert plain.spec.fingerprint != larger.spec.fingerprint
    assert len(larger.towers.image.position) == 65
    assert checkpoints.load("small-clip", patch_size=16).image.patch_embed.weight.shape[-1] == 16
    with pytest.raises(ValueError, match="smaller than a patch"):
        diptych.load_model("small-clip", image_size=4)


def test_the_bundled_model_can_be_resized_too():
    model, plain = diptych.load_model("diptych-tiny", image_size=192), diptych.load_model("diptych-tiny")
    assert model.spec.image_size == 192 and model.spec.fingerprint != plain.spec.fingerprint


def test_siglip_towers_are_found_under_their_names():
    assert catalog.get("ViT-B-16-SigLIP2-256::webli").name == "siglip2-base-patch16-256"
    assert siglip_towers() != clip_towers()


def test_a_training_checkpoint_is_read_in_open_clips_layout_whatever_the_entry_pulls(tmp_path, towers, monkeypatch):
    published = layouts.write(towers.state_dict(), clip_towers(), "open_clip")
    torch.save({"state_dict": published}, tmp_path / "epoch_10.pt")
    save_file(published, tmp_path / "anything.safetensors")
    for file in ("epoch_10.pt", "anything.safetensors"):
        assert torch.equal(checkpoints.load(tmp_path / file, like="ViT-S::test").image.position, towers.image.position)
    with pytest.raises(CheckpointError, match="is not small-clip's"):
        save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
        checkpoints.load(tmp_path / "other.safetensors", like="small-clip")


def test_a_folder_of_a_catalogues_name_that_declares_another_shape_is_what_it_declares(tmp_path):
    folder = tmp_path / "small-clip"
    huggingface_clip(clip_towers(activation="gelu")).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_json())
    assert folders.find(folder).entry.towers.image.activation == "gelu" != SMALL.towers.image.activation


def test_another_shape_under_a_catalogues_name_is_not_taken_for_it_in_the_cache(own_home):
    folder = own_home / "models" / "small-clip"
    huggingface_clip(clip_towers(activation="gelu")).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_json())
    assert folders.best_general() is None
    with pytest.raises(CheckpointError, match=r"the name of the catalogue's small-clip, .* a name of its own"):
        folders.find("small-clip")
    folder.rename(folder.with_name("mine"))
    assert folders.find("mine").entry.towers.image.activation == "gelu"


@pytest.mark.parametrize("name", ["/tmp/nope.pt", "nothere/", "./nothere", "nope.safetensors"])
def test_a_path_that_is_not_there_is_told_as_such(name):
    with pytest.raises(ModelNotFound, match="there is no file or folder"):
        folders.find(name)


def test_a_tokenizer_of_another_model_is_refused(own_home, towers):
    folder = write(own_home / "models" / "small-clip", towers, "huggingface_clip")
    small = train_bpe(["a b c"], 262, 30)
    small.save(str(folder / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="marks texts with the id 299: it belongs to another model"):
        loading.load_embedder("small-clip")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"vocab\.json and merges\.txt are turned into one"):
        loading.load_embedder(folder)


def test_names_as_people_copy_them_from_the_hub():
    for name in ("https://huggingface.co/someone/small-clip/", "hf-hub:someone/small-clip", "Small-CLIP"):
        assert catalog.find(name) is SMALL
    assert catalog.filtered(family="siglip2") == catalog.filtered(family="SigLIP 2") != ()


def test_names_that_are_none_and_strays_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "diptych-tiny").mkdir()
    assert folders.find("diptych-tiny").folder == folders.bundled_folder() / "diptych-tiny"
    assert catalog.find("") is None
    with pytest.raises(ModelNotFound, match="a model's name is empty"):
        folders.find("")
    with pytest.raises(CheckpointError, match="does not say what it holds"):
        folders.find(".")
    monkeypatch.chdir(folders.bundled_folder() / "diptych-tiny")
    assert folders.find(".").entry.name == folders.find("model.safetensors").entry.name == "diptych-tiny"


def test_infinities_in_our_own_layout_are_refused(tmp_path):
    from test_export import made

    folder = made(tmp_path / "mine", siglip_towers())
    weights = load_file(folder / "model.safetensors")
    weights["image.position"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"image\.position"):
        loading.load_embedder(folder)


def test_a_damaged_neighbour_is_told_by_name_and_hides_nothing(own_home, towers):
    write(own_home / "models" / "small-clip", towers, "huggingface_clip")
    bad = own_home / "models" / "bad"
    bad.mkdir()
    (bad / "source.json").write_text("[")
    (bad / "config.json").write_bytes(b"\xff\xfe")
    assert "small-clip" in folders.local_models()
    with pytest.raises(CheckpointError, match=r"bad/source\.json is damaged"):
        folders.find("bad")
