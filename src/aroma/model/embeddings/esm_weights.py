"""Where the weights of an ESM-2 come from: a directory, a fair-esm checkpoint, the hub's cache, or a random start.

Nothing is downloaded unless the specification says ``"download": true``. Weights of another architecture are refused
by what their own configuration says, and every weight that inference needs must be in the file: transformers would
start a missing one at random.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from aroma.errors import ModelError, UsageError
from aroma.model.embeddings.devices import quiet_loading
from aroma.model.embeddings.esm_config import CUSTOM, PUBLISHED, TOKENS, VOCABULARY, EsmShape, esm_config
from aroma.model.embeddings.fair_esm import convert_checkpoint, read_checkpoint

if TYPE_CHECKING:
    import torch
    from transformers import EsmModel

_HUB: Final = "facebook"
_FILES: Final = ("config.json", "vocab.txt", "*.safetensors", "*.safetensors.index.json")
_OLD_FILES: Final = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")
_BLOCK: Final = 1 << 24


class EsmWeights(ABC):
    """Weights that can be described at once and loaded when needed.

    Attributes:
        shape: Of the model.
        sha256: Of the file; of several files, over their names and checksums; of a random start, over its tensors.
        licence: Of the weights.
    """

    shape: EsmShape
    sha256: str
    licence: str = "MIT (ESM-2, Meta)"

    @abstractmethod
    def load(self, dtype: torch.dtype) -> EsmModel:
        """Return the model on the CPU, its weights as ``dtype`` where they can be read so.

        Raises:
            ModelError: The weights do not fit the architecture, or cannot be read.
        """


class CheckpointWeights(EsmWeights):
    """A fair-esm ``.pt`` file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _, self.shape = read_checkpoint(path)
        self.sha256 = _file_sha256(path)

    def load(self, dtype: torch.dtype) -> EsmModel:
        """Convert the checkpoint."""
        return convert_checkpoint(self.path)


class DirectoryWeights(EsmWeights):
    """A directory as transformers saves it: ``config.json`` with safetensors (or ``.bin``, read as weights only)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shape = _configured_shape(path)
        self.sha256 = files_sha256(_weight_files(path))

    def load(self, dtype: torch.dtype) -> EsmModel:
        """Load the directory with transformers, and refuse a model with a weight that is not in it."""
        from safetensors import SafetensorError
        from transformers import EsmModel

        quiet_loading()
        try:
            loaded: Any = EsmModel.from_pretrained(
                self.path,
                local_files_only=True,
                output_loading_info=True,
                add_pooling_layer=False,
                dtype=dtype,
                weights_only=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            first = str(error).strip().split("\n")[0]
            raise ModelError(f"{self.path}: the weights cannot be loaded ({first}); fetch the files again") from error
        model, said = cast("tuple[EsmModel, dict[str, Any]]", loaded)
        missing = sorted(name for name in said["missing_keys"] if not name.startswith(("contact_head.", "pooler.")))
        missing += [str(entry[0]) for entry in said["mismatched_keys"]]
        if missing:
            raise ModelError(
                f"{self.path}: {len(missing)} weights are missing or of another size ({missing[0]} first); "
                "they are not those of an ESM-2, or the download is not complete"
            )
        return model


class RandomWeights(EsmWeights):
    """A random start, for measurements and tests; its vectors know order and composition, and nothing of biology.

    Args:
        shape: Of the model.
        seed: Of PyTorch's generator.
    """

    licence = "none (random numbers)"

    def __init__(self, shape: EsmShape, seed: int) -> None:
        self.shape, self.seed = shape, seed
        self._model: EsmModel | None = self._make()
        self.sha256 = _tensors_sha256(self._model.state_dict().items())

    def load(self, dtype: torch.dtype) -> EsmModel:
        """Return the model made when it was described, else make it again."""
        model, self._model = self._model or self._make(), None
        return model

    def _make(self) -> EsmModel:
        import torch
        from transformers import EsmModel

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = EsmModel(esm_config(self.shape), add_pooling_layer=False)
        model.train(mode=False)
        return model


def find_weights(name: str, options: dict[str, Any]) -> EsmWeights:
    """Take what says where the weights are out of ``options`` and return them.

    Args:
        name: A published name, or ``esm2_custom``.
        options: ``weights`` (directory or ``.pt``), ``random`` (seed), ``shape`` (of a custom random one),
            ``download`` (the hub may be asked).

    Raises:
        UsageError: Options that exclude one another or do not fit.
        ModelError: Weights that are missing or of another architecture.
    """
    path, seed = options.pop("weights", None), options.pop("random", None)
    shape, download = options.pop("shape", None), bool(options.pop("download", False))
    if path is not None and seed is not None:
        raise UsageError(f"encoder {name}: 'weights' and 'random' exclude one another; give one")
    if seed is not None:
        return RandomWeights(_asked_shape(name, shape), _integer(name, "random", seed))
    if shape is not None:
        raise UsageError(f"encoder {name}: 'shape' is of a random start; give 'random' (a seed) too, or leave it out")
    found = _opened(name, Path(str(path)).expanduser()) if path is not None else _from_hub(name, download=download)
    wanted = PUBLISHED.get(name)
    if wanted is not None and _sizes(found.shape) != _sizes(wanted):
        raise ModelError(
            f"{path or name}: the weights have {_said(found.shape)}, {name} has {_said(wanted)}; "
            f"name the encoder that they are of, or {CUSTOM} for a shape of your own"
        )
    return found


def _opened(name: str, path: Path) -> EsmWeights:
    if path.is_dir():
        return DirectoryWeights(path)
    if path.suffix == ".pt" and path.is_file():
        return CheckpointWeights(path)
    what = "there is nothing at" if not path.exists() else "neither a directory nor a .pt file:"
    raise ModelError(
        f"weights of {name}: {what} {path}; give a directory with config.json and model.safetensors, or a fair-esm .pt"
    )


def _from_hub(name: str, *, download: bool) -> DirectoryWeights:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if name not in PUBLISHED:
        raise UsageError(f"encoder {name}: give 'weights' (a directory or .pt file), or 'random' with 'shape'")
    repository = f"{_HUB}/{name}"
    try:
        found = snapshot_download(repository, local_files_only=not download, allow_patterns=[*_FILES])
        if download and not list(Path(found).glob("*.safetensors")):
            found = snapshot_download(repository, allow_patterns=[*_FILES, *_OLD_FILES])
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"weights of {name} are not in the hub's cache{' and could not be fetched' if download else ''}; "
            f"run `hf download {repository}` on a machine with a network and give the directory as 'weights', "
            'or set "download": true; without weights, the encoder composition needs none'
        ) from error
    return DirectoryWeights(Path(found))


def _configured_shape(path: Path) -> EsmShape:
    place = path / "config.json"
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{place}: is missing or no JSON; a directory of weights has config.json and model.safetensors"
        ) from error
    try:
        kind = (config["model_type"], config["position_embedding_type"], config["vocab_size"])
        shape = EsmShape(
            int(config["num_hidden_layers"]),
            int(config["hidden_size"]),
            int(config["num_attention_heads"]),
            bool(config.get("token_dropout", False)),
        )
        inner = int(config["intermediate_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{place}: is not the configuration of an ESM-2 ({error} is missing or malformed)") from error
    fits = kind == ("esm", "rotary", VOCABULARY) and not config.get("emb_layer_norm_before") and inner == 4 * shape.dim
    if not fits or config.get("is_folding_model"):
        raise ModelError(
            f"{place}: is a {config['model_type']} model with {config['position_embedding_type']} positions, not an "
            "ESM-2; take the weights of one of: " + ", ".join(PUBLISHED)
        )
    _check_vocabulary(path)
    return shape


def _check_vocabulary(path: Path) -> None:
    place = path / "vocab.txt"
    if place.exists() and tuple(place.read_text(encoding="utf-8").split()) != TOKENS:
        raise ModelError(f"{place}: is not ESM-2's alphabet; the weights are of another model")


def _weight_files(path: Path) -> list[Path]:
    found = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
    if not found:
        raise ModelError(f"{path}: has config.json and no model.safetensors (or pytorch_model.bin); fetch it whole")
    return found


def _asked_shape(name: str, given: Any) -> EsmShape:
    if name in PUBLISHED:
        if given is not None:
            raise UsageError(f"encoder {name} has its own shape; leave 'shape' out, or name it {CUSTOM}")
        return PUBLISHED[name]
    if not isinstance(given, dict) or set(given) != {"layers", "dim", "heads"}:
        raise UsageError(f'encoder {name}: a random start needs "shape": {{"layers": …, "dim": …, "heads": …}}')
    layers, dim, heads = (_integer(name, key, given[key]) for key in ("layers", "dim", "heads"))
    shape = EsmShape(layers, dim, heads)
    if min(shape.layers, shape.dim, shape.heads) < 1 or shape.dim % (2 * shape.heads):
        raise UsageError(f"encoder {name}: dim must be a multiple of twice the heads, all at least 1; got {given}")
    return shape


def _integer(name: str, option: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"encoder {name}: {option!r} is a whole number, not {value!r}")
    return value


def _sizes(shape: EsmShape) -> tuple[int, int, int]:
    return shape.layers, shape.dim, shape.heads


def _said(shape: EsmShape) -> str:
    return f"{shape.layers} layers of {shape.dim} with {shape.heads} heads"


def _file_sha256(path: Path) -> str:
    whole = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                whole.update(block)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    return whole.hexdigest()


def files_sha256(paths: Sequence[Path]) -> str:
    """Return the sha256 of a file, or of several files' names and checksums, hex.

    Raises:
        ModelError: A file cannot be read.
    """
    if len(paths) == 1:
        return _file_sha256(paths[0])
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path.name} {_file_sha256(path)}\n".encode())
    return whole.hexdigest()


def _tensors_sha256(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors):
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        whole.update(tensor.detach().contiguous().numpy().tobytes())
    return whole.hexdigest()
