"""ESM-2: equal to transformers' forward pass and to fair-esm's; windows, batches, precision, memory, bad weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("transformers")

import torch
from transformers import EsmModel

from aroma.errors import ModelError, UsageError
from aroma.model.embeddings.batches import batches, cut_windows, residue_weights, window_starts
from aroma.model.embeddings.encoder import Encoder
from aroma.model.embeddings.esm_config import CLS, EOS, FIRST_LETTER, LETTERS, PUBLISHED, TOKENS, EsmShape, esm_config
from aroma.model.embeddings.fair_esm import convert_checkpoint
from aroma.model.embeddings.items import STANDARD_LETTERS
from aroma.model.embeddings.registry import make_encoder
from tests.support.tiny_esm import SHAPE, SPEC, save_tiny, shake, tiny_esm

_RANDOM = np.random.default_rng(7)
PROTEINS = [
    "".join(_RANDOM.choice(list(STANDARD_LETTERS + "UX"), size=length)) for length in (1, 2, 9, 30, 30, 57, 200)
]
CUSTOM = "esm2_custom"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def _encoder(weights: Path, **options: object) -> Encoder:
    return make_encoder({"encoder": CUSTOM, "weights": str(weights), **options})


def _states(model: EsmModel, sequence: str, layer: int = -1) -> npt.NDArray[np.float32]:
    """Return transformers' own states of the residues of one sequence."""
    tokens = torch.tensor([[CLS, *(FIRST_LETTER + LETTERS.index(letter) for letter in sequence), EOS]])
    with torch.no_grad():
        found = model(tokens, attention_mask=torch.ones_like(tokens), output_hidden_states=True)
    states = [*found.hidden_states[:-1], found.last_hidden_state]
    return states[layer][0, 1:-1].numpy()


def _near(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> bool:
    return bool(np.allclose(found, wanted, rtol=1e-4, atol=2e-5))


@pytest.mark.parametrize("layer", [-1, 0, 1, 2, 3])
def test_the_mean_over_residues_of_any_layer_is_that_of_transformers(weights: Path, layer: int):
    found = _encoder(weights, layer=layer).encode(PROTEINS)
    model = tiny_esm()
    wanted = np.stack([_states(model, protein, layer).mean(axis=0) for protein in PROTEINS])
    assert not found.problems
    assert _near(found.vectors, wanted)


def test_padding_of_transformers_and_neighbours_in_our_batch_change_no_vector(weights: Path):
    encoder = _encoder(weights)
    together = encoder.encode(PROTEINS).vectors
    alone = np.concatenate([encoder.encode([protein]).vectors for protein in PROTEINS])
    small = _encoder(weights, batch_tokens=40).encode(PROTEINS).vectors
    assert _near(together, alone)
    assert _near(together, small)
    reverse = encoder.encode(PROTEINS[::-1]).vectors[::-1]
    assert _near(together, reverse)
    longest = max(map(len, PROTEINS))
    rows = [[CLS, *(FIRST_LETTER + LETTERS.index(letter) for letter in one), EOS] for one in PROTEINS]
    tokens = torch.tensor([row + [1] * (longest + 2 - len(row)) for row in rows])
    with torch.no_grad():
        padded = tiny_esm()(tokens, attention_mask=(tokens != 1).long()).last_hidden_state
    means = [padded[at, 1 : len(one) + 1].mean(dim=0).numpy() for at, one in enumerate(PROTEINS)]
    assert _near(together, np.stack(means))


def test_a_long_protein_is_the_mean_over_residues_of_the_mean_over_its_windows(weights: Path):
    protein, window, overlap = PROTEINS[-1], 60, 25
    found = _encoder(weights, window=window, overlap=overlap).encode([protein, PROTEINS[3]]).vectors
    model = tiny_esm()
    total, depth = np.zeros((len(protein), SHAPE.dim)), np.zeros(len(protein))
    for start in (0, 35, 70, 105, 140):
        total[start : start + window] += _states(model, protein[start : start + window])
        depth[start : start + window] += 1
    assert (depth >= 1).all()
    assert _near(found[0], (total / depth[:, None]).mean(axis=0).astype(np.float32))
    assert _near(found[1], _states(model, PROTEINS[3]).mean(axis=0))
    assert _encoder(weights, window=window, overlap=overlap).cost(protein) == 5 * 62


@pytest.mark.parametrize(("length", "starts"), [(1, [0]), (10, [0]), (11, [0, 1]), (16, [0, 6]), (17, [0, 6, 7])])
def test_windows_cover_every_residue_and_the_last_is_full(length: int, starts: list[int]):
    assert window_starts(length, 10, 4) == starts


def test_batches_hold_each_window_once_longest_first_within_their_size():
    lengths = [5, 40, 12, 12, 3, 25]
    windows = cut_windows(lengths, 20, 5)
    found = list(batches(windows, 30, extra=2))
    flat = [window for batch in found for window in batch]
    assert sorted(flat, key=lambda one: (one.sequence, one.start)) == windows
    assert [len(one) for one in flat] == sorted((len(one) for one in windows), reverse=True)
    assert all(len(batch) == 1 or sum(len(one) + 2 for one in batch) <= 30 for batch in found)
    shares = residue_weights(windows, lengths)
    for sequence in range(len(lengths)):
        assert np.isclose(sum(shares[one].sum() for one in windows if one.sequence == sequence), 1)


@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 0.99), ("float16", 0.999)])
def test_half_precision_gives_nearly_the_same_vectors_and_another_card(weights: Path, precision: str, least: float):
    whole, half = _encoder(weights), _encoder(weights, precision=precision)
    a, b = whole.encode(PROTEINS).vectors, half.encode(PROTEINS).vectors
    assert ((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1) > least).all()
    assert not np.array_equal(a, b)
    assert whole.card.id != half.card.id


def test_problems_are_said_by_sequence_and_the_others_have_vectors(weights: Path):
    found = _encoder(weights).encode(["MKT", "M*T", "", "MJT", "MUO", "m"])
    assert {place: why.split(" at ")[0] for place, why in found.problems.items()} == {
        1: "a stop (*)",
        2: "no sequence",
        3: "'J'",
        5: "lower case ('m')",
    }
    assert np.isfinite(found.vectors[[0, 4]]).all()
    assert np.isnan(found.vectors[[1, 2, 3, 5]]).all()
    assert _encoder(weights).encode([]).vectors.shape == (0, SHAPE.dim)


def test_a_sequence_whose_numbers_are_not_finite_is_a_problem_and_all_of_them_an_error(tmp_path: Path):
    model = tiny_esm()
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[FIRST_LETTER + LETTERS.index("W")] = float("nan")
    model.save_pretrained(tmp_path)
    found = _encoder(tmp_path).encode(["MKT", "MWT", "AC"])
    assert found.problems == {1: "numbers that are not finite, in float32"}
    assert np.isfinite(found.vectors[[0, 2]]).all()
    with pytest.raises(ModelError, match="not finite for all of 2"):
        _encoder(tmp_path).encode(["MW", "WWW"])


_LITTLE_MEMORY = """
import json, resource, sys
import numpy as np
from aroma.model.embeddings.registry import make_encoder
spec, proteins = json.loads(sys.argv[1]), json.loads(sys.argv[2])
encoder = make_encoder(spec | {"batch_tokens": 2_000_000})
wanted = encoder.encode(proteins[:1]).vectors
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 48_000_000, resource.RLIM_INFINITY))
found = encoder.encode(proteins)
print(json.dumps([encoder.batch_tokens, bool(np.allclose(found.vectors, wanted, rtol=1e-4, atol=2e-5))]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")
def test_memory_that_ends_halves_the_batch_says_so_and_the_vectors_stay(weights: Path):
    """A real process with a real limit: the batch of all proteins does not fit, a smaller one does."""
    proteins = [PROTEINS[-1]] * 400
    spec = {"encoder": CUSTOM, "weights": str(weights)}
    done = subprocess.run(
        [sys.executable, "-c", _LITTLE_MEMORY, json.dumps(spec), json.dumps(proteins)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    tokens, same = json.loads(done.stdout.strip().split("\n")[-1])
    assert tokens < 400 * 202
    assert same
    assert f"going on with {tokens} tokens a batch" in done.stderr


def test_a_random_start_is_named_so_and_is_the_same_on_every_worker():
    first, again = make_encoder(SPEC), make_encoder(SPEC)
    other = make_encoder({**SPEC, "random": 6})
    assert first.card.name == "esm2_custom:random-5"
    assert first.card.licence == "none (random numbers)"
    assert first.card.parameters["random"] == 5
    assert first.card == again.card
    assert first.card.id != other.card.id
    assert np.array_equal(first.encode(PROTEINS).vectors, again.encode(PROTEINS).vectors)


def test_the_card_tells_weights_and_choices_apart_and_not_the_batch_size(weights: Path, tmp_path: Path):
    card = _encoder(weights).card
    assert card.name == CUSTOM
    assert card.kind == "protein"
    assert card.parameters["layer"] == 3
    assert card.id == _encoder(weights, layer=3, batch_tokens=77).card.id
    different = [
        _encoder(weights, layer=2),
        _encoder(weights, window=50, overlap=3),
        _encoder(save_tiny(tmp_path, seed=4)),
    ]
    assert len({card.id, *(one.card.id for one in different)}) == 4


def _fair_model(shape: EsmShape) -> torch.nn.Module:
    from esm.model.esm2 import ESM2

    torch.manual_seed(11)
    model = ESM2(num_layers=shape.layers, embed_dim=shape.dim, attention_heads=shape.heads)
    shake(model)
    model.train(mode=False)
    return model


def _save_checkpoint(model: torch.nn.Module, path: Path, shape: EsmShape, *, with_cfg: bool = True) -> Path:
    """Save as the published files are: names with a prefix, and the settings as a Namespace."""
    state = {f"encoder.sentence_encoder.{name}": tensor for name, tensor in model.state_dict().items()}
    cfg = Namespace(
        encoder_layers=shape.layers,
        encoder_embed_dim=shape.dim,
        encoder_attention_heads=shape.heads,
        token_dropout=True,
    )
    torch.save({"model": state, "cfg": {"model": cfg} if with_cfg else None}, path)
    return path


@pytest.mark.parametrize("with_cfg", [True, False])
def test_a_fair_esm_checkpoint_gives_the_vectors_of_the_fair_esm_package(tmp_path: Path, with_cfg: bool):
    esm = pytest.importorskip("esm")
    model = _fair_model(SHAPE)
    path = _save_checkpoint(model, tmp_path / "esm2_tiny.pt", SHAPE, with_cfg=with_cfg)
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    assert tuple(alphabet.all_toks) == TOKENS
    _, _, tokens = alphabet.get_batch_converter()([(str(at), one) for at, one in enumerate(PROTEINS)])
    for layer in (0, 2, 3):
        with torch.no_grad():
            states = model(tokens, repr_layers=[layer])["representations"][layer]
        wanted = np.stack([states[at, 1 : len(one) + 1].mean(dim=0).numpy() for at, one in enumerate(PROTEINS)])
        found = _encoder(path, layer=layer).encode(PROTEINS).vectors
        cosine = (found * wanted).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
        assert cosine.min() >= 0.9999
        assert _near(found, wanted)
    converted = convert_checkpoint(path)
    assert _near(_states(converted, PROTEINS[3]).mean(axis=0), wanted[3])


def test_a_file_that_is_no_esm2_checkpoint_is_refused_by_name(tmp_path: Path):
    model = _fair_model(SHAPE)
    state = model.state_dict()
    cases = {
        "text.pt": None,
        "other.pt": {"weights": 1},
        "layers.pt": {"model": {"embed_positions.weight": torch.zeros(3)}},
        "short.pt": {"model": {name: value for name, value in state.items() if name != "layers.1.fc1.bias"}},
    }
    for name, content in cases.items():
        path = tmp_path / name
        path.write_bytes(b"not a checkpoint") if content is None else torch.save(content, path)
        with pytest.raises(ModelError, match=name):
            _encoder(path).encode(["MKT"])


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path: Path):
    path, ran = tmp_path / "evil.pt", tmp_path / "ran"
    torch.save({"model": _Evil(str(ran))}, path)
    with pytest.raises(ModelError, match="evil.pt"):
        _encoder(path)
    assert not ran.exists()


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


def test_weights_of_another_size_or_architecture_are_refused(weights: Path, tmp_path: Path):
    with pytest.raises(ModelError, match=r"3 layers of 48 with 4 heads, esm2_t6_8M_UR50D has 6 layers of 320"):
        make_encoder({"encoder": "esm2_t6_8M", "weights": str(weights)})
    for change in ({"model_type": "bert"}, {"position_embedding_type": "absolute"}, {"vocab_size": 30}):
        config = json.loads((weights / "config.json").read_text()) | change
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match="not an ESM-2"):
            _encoder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="not the configuration"):
        _encoder(tmp_path)
    (tmp_path / "config.json").write_text((weights / "config.json").read_text())
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        _encoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((weights / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        _encoder(tmp_path).encode(["MKT"])
    (tmp_path / "model.safetensors").write_bytes((weights / "model.safetensors").read_bytes())
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS[::-1]))
    with pytest.raises(ModelError, match="alphabet"):
        _encoder(tmp_path)


def test_a_weight_that_is_not_in_the_file_is_an_error_not_a_random_number(weights: Path, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((weights / "config.json").read_text())
    with pytest.raises(ModelError, match=r"1 weights are missing.*output\.dense\.weight"):
        _encoder(tmp_path).encode(["MKT"])


def test_weights_that_are_nowhere_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ModelError, match="there is nothing at"):
        _encoder(tmp_path / "absent")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"hf download facebook/esm2_t33_650M_UR50D"):
        make_encoder({"encoder": "esm2_t33_650M_UR50D"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": 9}, r"0 \(embeddings\) to 3"),
        ({"layer": "last"}, "whole number"),
        ({"window": 10, "overlap": 10}, "more than overlap"),
        ({"precision": "int8"}, "float32, bfloat16, float16"),
        ({"random": "x"}, "whole number"),
        ({"shape": {"layers": 1, "dim": 10, "heads": 3}}, "multiple"),
        ({"shape": None}, "needs"),
        ({"weights": "x"}, "exclude"),
        ({"colour": 1}, "no option colour"),
        ({"encoder": "esm2_t7"}, "esm2_t48_15B_UR50D"),
        ({"encoder": "esm2_t6_8M_UR50D"}, "its own shape"),
        ({"random": None}, "random start"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], said: str):
    with pytest.raises(UsageError, match=said):
        make_encoder({**SPEC, **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps", "gpu"])
def test_a_device_that_is_not_there_says_what_to_do(device: str):
    with pytest.raises(ModelError, match=f"device '{device}'.*cpu"):
        make_encoder(SPEC, device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_gives_the_vectors_of_the_cpu(precision: str):
    found = make_encoder({**SPEC, "precision": precision}, "cuda").encode(PROTEINS).vectors
    wanted = make_encoder(SPEC).encode(PROTEINS).vectors
    assert ((found * wanted).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1) > 0.99).all()


def test_the_published_sizes_count_their_parameters():
    """As the names say; word embeddings are left out, which is the larger part of the 8 million's rest."""
    for name, shape in PUBLISHED.items():
        said = {"8M": 8e6, "35M": 35e6, "150M": 150e6, "650M": 650e6, "3B": 3e9, "15B": 15e9}[name.split("_")[2]]
        assert 0.9 < shape.parameters / said < 1.1
    with torch.device("meta"):
        model = EsmModel(esm_config(SHAPE), add_pooling_layer=False)
    layers = sum(parameter.numel() for parameter in model.encoder.layer.parameters())
    assert layers == SHAPE.parameters
