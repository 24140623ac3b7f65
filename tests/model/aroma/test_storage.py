"""Saved models: the same answers when loaded, nothing pickled, and what does not fit is said by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch

from aroma.errors import ModelError
from aroma.kgstore.home import Home
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.prompting import Prompter
from aroma.model.aroma.storage import (
    AromaCard,
    load_aroma,
    load_weights,
    read_aroma_card,
    save_aroma,
    save_weights,
)
from aroma.model.ground import Ground
from aroma.retrieval.prompts import read_template
from tests.support.planted import planted
from tests.support.tiny_aroma import batch_of, make_tiny, options_of, padded, shaken
from tests.support.vectors import make_vectors


@pytest.fixture(scope="module")
def rows(aroma_ground, aroma_store, tiny_model):
    frame = aroma_ground.rows(planted().gather_every(397).head(3))
    return Prompter(aroma_store, tiny_model.tokenizer, tiny_model.options).rows(frame)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_model, aroma_ground, bank):
    """A saved tiny model with an adapter; copy it to change it."""
    place = tmp_path_factory.mktemp("saved") / "model"
    save_aroma(tiny_model, place, AromaCard.of(aroma_ground, bank, split="official", metrics={"f1": 0.5}))
    return place


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_model, aroma_ground, bank):
    """The tiny model's base and tokenizer as a directory of real weights."""
    place = tmp_path_factory.mktemp("base") / "Qwen3-tiny"
    other = Aroma.make(options_of(lora_rank=0, seed=5), bank)
    other.language_model.save_pretrained(place)
    other.tokenizer.save_pretrained(place)
    return place


def logits(aroma, bank, rows):
    ids, mask = padded(aroma.tokenizer, rows)
    with torch.no_grad():
        return aroma.eval()(ids, mask, batch_of(bank, rows)).logits


def changed(place, target, **body):
    shutil.copytree(place, target)
    said = json.loads((target / "aroma.json").read_text())
    for name, value in body.items():
        said[name].update(value)
    (target / "aroma.json").write_text(json.dumps(said))
    return target


def test_a_loaded_model_gives_identical_logits(saved, tiny_model, aroma_ground, bank, rows):
    loaded = load_aroma(saved, aroma_ground)
    assert torch.equal(logits(loaded.aroma, loaded.bank, rows), logits(tiny_model, bank, rows))
    assert not loaded.aroma.training
    assert loaded.card.metrics == {"f1": 0.5}
    assert loaded.card.split == "official"
    assert loaded.bank.card() == bank.card()


@pytest.mark.parametrize(
    "given", [{"lora_rank": 0}, {"interaction": "gated"}, {"interaction": "paper"}, {"base": "tiny-llama"}]
)
def test_other_kinds_of_models_are_saved_as_well(given, tmp_path, aroma_ground, bank, rows):
    aroma = make_tiny(options_of(**given), bank)
    save_aroma(aroma, tmp_path / "model", AromaCard.of(aroma_ground, bank))
    loaded = load_aroma(tmp_path / "model", aroma_ground)
    assert torch.equal(logits(loaded.aroma, bank, rows), logits(aroma, bank, rows))
    assert (tmp_path / "model" / "adapter").exists() == (given.get("lora_rank") != 0)


def test_a_model_over_a_directory_keeps_its_path_and_hash_not_its_weights(base, tmp_path, aroma_ground, bank, rows):
    aroma = make_over(base, bank)
    place = tmp_path / "model"
    save_aroma(aroma, place, AromaCard.of(aroma_ground, bank))
    assert not (place / "base").exists()
    assert read_aroma_card(place).base["name"] == "Qwen3-tiny"
    assert torch.equal(logits(load_aroma(place, aroma_ground).aroma, bank, rows), logits(aroma, bank, rows))
    moved = tmp_path / "elsewhere"
    shutil.copytree(base, moved)
    found = load_aroma(place, aroma_ground, base=str(moved))
    assert torch.equal(logits(found.aroma, bank, rows), logits(aroma, bank, rows))


def make_over(base, bank, **given):
    """A model over a directory: adapter and modules moved, the base as it is there."""
    aroma = Aroma.make(options_of(base=str(base), **given), bank)
    torch.manual_seed(7)
    with torch.no_grad():
        for _, parameter in aroma.trainable_parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return aroma.eval()


@pytest.mark.parametrize("rank", [0, 4])
def test_a_base_that_is_trained_itself_is_saved(base, tmp_path, aroma_ground, bank, rows, rank):
    aroma = shaken(make_over(base, bank, lora_rank=rank))
    aroma.language_model.get_input_embeddings().requires_grad_()
    save_aroma(aroma, tmp_path / "model", AromaCard.of(aroma_ground, bank))
    loaded = load_aroma(tmp_path / "model", aroma_ground)
    torch.testing.assert_close(logits(loaded.aroma, bank, rows), logits(aroma, bank, rows), atol=0, rtol=0)
    other = make_over(base, bank, lora_rank=rank)
    other.language_model.get_input_embeddings().requires_grad_()
    load_weights(other, tmp_path / "model")
    assert torch.equal(logits(other, bank, rows), logits(aroma, bank, rows))


def test_a_loaded_adapter_goes_on_being_trained_where_asked(saved, aroma_ground):
    names = [name for name, _ in load_aroma(saved, aroma_ground, trainable=True).aroma.trainable_parameters()]
    assert any("lora_" in name for name in names)
    frozen = [name for name, _ in load_aroma(saved, aroma_ground).aroma.trainable_parameters()]
    assert not any("lora_" in name for name in frozen)


def test_weights_are_saved_and_read_for_checkpoints(tmp_path, tiny_model, tiny_options, bank, rows):
    save_weights(tiny_model, tmp_path / "step-1")
    other = Aroma.make(tiny_options, bank, texts_for_tiny_tokenizer=["TP53 is a gene of the K562 cell line."] * 3)
    with torch.no_grad():
        for name, held in tiny_model.named_parameters():
            if "lora_" not in name and not name.startswith("interaction."):
                dict(other.named_parameters())[name].copy_(held)
    assert not torch.equal(logits(other, bank, rows), logits(tiny_model, bank, rows))
    load_weights(other, tmp_path / "step-1")
    assert torch.equal(logits(other, bank, rows), logits(tiny_model, bank, rows))


def test_nothing_is_pickled(saved):
    import aroma.model.aroma as package

    kinds = {path.suffix for path in saved.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors", ".j2", ".jinja"}
    sources = [path.read_text() for path in __import__("pathlib").Path(package.__path__[0]).rglob("*.py")]
    assert not any("torch.save(" in text or "pickle." in text or "torch.load(" in text for text in sources)


def test_prompts_of_a_loaded_model_come_from_the_saved_template(tmp_path, aroma_ground, aroma_store, bank):
    own = tmp_path / "ours.txt.j2"
    own.write_text("Ours: " + read_template("aroma"))
    aroma = make_tiny(options_of(template=str(own)), bank)
    save_aroma(aroma, tmp_path / "model", AromaCard.of(aroma_ground, bank))
    own.unlink()
    loaded = load_aroma(tmp_path / "model", aroma_ground).aroma
    frame = aroma_ground.rows(planted().head(1))
    (row,) = Prompter(aroma_store, loaded.tokenizer, loaded.options).rows(frame)
    assert row.text.startswith("<|im_start|>user\nOurs:You predict")


def test_another_release_is_refused(saved, tmp_path, aroma_ground):
    place = changed(saved, tmp_path / "model", card={"release": "r000000000000"})
    with pytest.raises(ModelError, match=f"made from release r000000000000, not {aroma_ground.release}; open that"):
        load_aroma(place, aroma_ground)


def test_other_vectors_are_refused_by_name(saved, tmp_path, aroma_ground, aroma_home, bank):
    card = bank.card()
    card["gene-kg"]["digest"] = "000000000000"
    place = changed(saved, tmp_path / "digest", card={"vectors": card})
    with pytest.raises(ModelError, match="modality gene-kg was made with the vectors 000000000000 of gat:gene-kg, and"):
        load_aroma(place, aroma_ground)
    card["gene-kg"]["id"] = "e00000000000"
    place = changed(saved, tmp_path / "gone", card={"vectors": card})
    with pytest.raises(
        ModelError, match=r"no embeddings .*e00000000000.* the model was made with .*protein: composition"
    ):
        load_aroma(place, aroma_ground)


def test_a_second_vector_set_of_the_same_name_does_no_harm(saved, tmp_path, aroma_home, aroma_ground, tiny_model, rows):
    home = Home(tmp_path / "home")
    shutil.copytree(aroma_home.path, home.path)
    make_vectors(home, aroma_ground.release, {"HGNC:1": [1.0, 2.0]}, name="gat:gene-kg")
    ground = Ground(home)
    with pytest.raises(ModelError, match="2 encoders are called 'gat:gene-kg'"):
        ModalityBank.open(ground, tiny_model.options)
    loaded = load_aroma(saved, ground)
    assert torch.equal(logits(loaded.aroma, loaded.bank, rows), logits(tiny_model, loaded.bank, rows))


def test_another_base_is_refused(base, tmp_path, aroma_ground, bank):
    place = tmp_path / "model"
    save_aroma(make_over(base, bank), place, AromaCard.of(aroma_ground, bank))
    with pytest.raises(ModelError, match="its base Qwen3-tiny was in .*nosuch, where nothing is; say where it is now"):
        load_aroma(place, aroma_ground, base=str(tmp_path / "nosuch"))
    other = tmp_path / "other"
    shutil.copytree(base, other)
    made = Aroma.make(options_of(lora_rank=0, seed=6), bank)
    made.language_model.save_pretrained(other)
    with pytest.raises(ModelError, match="the adapter is of Qwen3-tiny with weights .* give the base that it was"):
        load_aroma(place, aroma_ground, base=str(other))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    with pytest.raises(ModelError, match="the adapter is of Qwen3-tiny with configuration"):
        load_aroma(place, aroma_ground, base=str(other))


def test_an_adapter_of_another_base_is_refused(saved, tmp_path, aroma_ground, bank):
    other = make_tiny(options_of(lora_rank=3), bank)
    save_aroma(other, tmp_path / "other", AromaCard.of(aroma_ground, bank))
    place = tmp_path / "model"
    shutil.copytree(saved, place)
    shutil.copy(tmp_path / "other/adapter/adapter_model.safetensors", place / "adapter/adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"adapter_model.safetensors: is not the file that was saved"):
        load_aroma(place, aroma_ground)
    aroma = make_tiny(options_of(), bank)
    with pytest.raises(ModelError, match="the adapter does not fit this base"):
        load_weights(aroma, place)


@pytest.mark.parametrize(
    "name",
    ["interaction.safetensors", "adapter/adapter_model.safetensors", "template.txt.j2", "base/model.safetensors"],
)
def test_missing_and_damaged_files_are_named(saved, tmp_path, aroma_ground, name):
    place = tmp_path / "model"
    shutil.copytree(saved, place)
    kept = (place / name).read_bytes()
    (place / name).write_bytes(kept[:-1])
    with pytest.raises(ModelError, match=f"{name}: is not the file that was saved; restore it"):
        load_aroma(place, aroma_ground)
    (place / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: is missing; restore it"):
        load_aroma(place, aroma_ground)


def test_cards_that_are_none_are_named(saved, tmp_path, aroma_ground):
    with pytest.raises(ModelError, match=r"there is no AROMA here \(aroma.json is missing\)"):
        load_aroma(tmp_path, aroma_ground)
    place = changed(saved, tmp_path / "options", options={"interaction": "mlp"})
    with pytest.raises(ModelError, match="its options do not fit .interaction has no 'mlp'"):
        load_aroma(place, aroma_ground)
    body = json.loads((saved / "aroma.json").read_text())
    two = {name: said for name, said in body["card"]["vectors"].items() if name != "protein"}
    wrong: list[object] = ["{", {}, [], {**body, "files": []}, {**body, "card": 3}]
    wrong += [{**body, "card": {**body["card"], **part}} for part in ({"vectors": two}, {"vectors": []}, {"base": {}})]
    for one in wrong:
        (place / "aroma.json").write_text(one if isinstance(one, str) else json.dumps(one))
        with pytest.raises(ModelError, match=r"aroma.json: is no card .*; restore it or train again"):
            load_aroma(place, aroma_ground)
    (place / "aroma.json").write_text(json.dumps({**body, "layout": 99}))
    with pytest.raises(ModelError, match="layout 99, this program reads 1; train again"):
        load_aroma(place, aroma_ground)
    (place / "aroma.json").write_text(json.dumps({**body, "card": {"release": "x", "nosuch": 1}}))
    with pytest.raises(ModelError, match="is no card"):
        load_aroma(place, aroma_ground)


def test_checkpoints_that_do_not_fit_are_named(tmp_path, tiny_model, bank):
    save_weights(tiny_model, tmp_path / "step")
    other = make_tiny(replace(tiny_model.options, interaction_dim=32), bank)
    with pytest.raises(ModelError, match="interaction.safetensors: is of interaction modules of another shape"):
        load_weights(other, tmp_path / "step")
    (tmp_path / "step/adapter/adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="adapter_model.safetensors: cannot be read"):
        load_weights(tiny_model, tmp_path / "step")


def test_what_is_in_the_way_stays(saved, tiny_model, aroma_ground, bank, tmp_path):
    with pytest.raises(ModelError, match="something is there already"):
        save_aroma(tiny_model, saved, AromaCard.of(aroma_ground, bank))
    (tmp_path / "empty").mkdir()
    save_aroma(tiny_model, tmp_path / "empty", AromaCard.of(aroma_ground, bank))
    assert (tmp_path / "empty" / "aroma.json").is_file()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="something is there already"):
        save_aroma(tiny_model, tmp_path / "file", AromaCard.of(aroma_ground, bank))
    with pytest.raises(ModelError, match="cannot be written"):
        save_aroma(tiny_model, tmp_path / "file" / "model", AromaCard.of(aroma_ground, bank))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
