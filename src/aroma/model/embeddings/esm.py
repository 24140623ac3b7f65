"""ESM-2: the mean over a protein's residues of the states after any layer, for any published size.

Specification (JSON)::

    {"encoder": "esm2_t33_650M_UR50D",  a published name, or esm2_custom
     "weights": "…",                    directory or fair-esm .pt file; without it the hub's cache is looked into
     "download": false,                 true: the hub may be asked for what the cache has not
     "random": 1,                       instead of weights: a random start with this seed; the name says so
     "shape": {"layers": 2, "dim": 32, "heads": 4},   of esm2_custom with a random start
     "layer": -1,                       0 the embeddings, 1 …, or from the end: -1 the last
     "window": 1022, "overlap": 256,    residues; longer proteins go in overlapping windows
     "precision": "float32",            or bfloat16, float16
     "batch_tokens": 2048}              how much at once; changes speed and memory, no vector

All but ``weights``, ``download`` and ``batch_tokens`` stand on the card, and the weights by their sha256.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aroma.errors import ModelError, UsageError
from aroma.model.embeddings.batches import Window, batches, cut_windows, residue_weights
from aroma.model.embeddings.encoder import Encoded, Encoder
from aroma.model.embeddings.esm_config import CLS, CUSTOM, EOS, FIRST_LETTER, LETTERS, PUBLISHED, TRAINED_WINDOW
from aroma.model.embeddings.finite import finite_only
from aroma.model.embeddings.items import sequence_problem
from aroma.retrieval.vector_store import EncoderCard

try:
    import torch

    from aroma.model.embeddings.devices import free_memory, is_out_of_memory, open_device
    from aroma.model.embeddings.esm_forward import PackedEsm
    from aroma.model.embeddings.esm_weights import EsmWeights, RandomWeights, find_weights
except ModuleNotFoundError as error:
    raise ModelError(
        f"ESM-2 needs the package {error.name}; install it with: pip install 'aroma-evidence[embeddings]'"
    ) from error

VERSION: Final = "1"
OVERLAP: Final = 256
CPU_TOKENS: Final = 2048
GPU_TOKENS: Final = 16384
_SPECIAL: Final = 2
"""Tokens beside the residues: <cls> before, <eos> after."""
_PRECISIONS: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TOKEN_OF: Final = np.zeros(256, dtype=np.int64)
_TOKEN_OF[np.frombuffer(LETTERS.encode(), dtype=np.uint8)] = np.arange(FIRST_LETTER, FIRST_LETTER + len(LETTERS))
_log = logging.getLogger("aroma.embeddings")


class EsmEncoder(Encoder):
    """An ESM-2 on one device; the model is loaded with the first sequence.

    Args:
        name: A published name or ``esm2_custom``.
        weights: Where they are.
        device: Where to compute.
        layer: From the start or, negative, from the end.
        window: Residues a window.
        overlap: Residues that windows share.
        precision: ``float32``, ``bfloat16``, ``float16``.
        batch_tokens: Tokens at once; halved when memory runs out.
        licences: Of what goes in, for the card.
    """

    def __init__(
        self,
        name: str,
        weights: EsmWeights,
        *,
        device: str = "cpu",
        layer: int = -1,
        window: int = TRAINED_WINDOW,
        overlap: int = OVERLAP,
        precision: str = "float32",
        batch_tokens: int | None = None,
        licences: Mapping[str, str] | None = None,
    ) -> None:
        self._weights, self._device = weights, open_device(device)
        self._dtype = _PRECISIONS[precision]
        self._window, self._overlap = window, overlap
        self._layer = layer if layer >= 0 else weights.shape.layers + 1 + layer
        self._tokens = batch_tokens or (GPU_TOKENS if self._device.type == "cuda" else CPU_TOKENS)
        self._model: PackedEsm | None = None
        parameters: dict[str, Any] = {
            "layer": self._layer,
            "window": window,
            "overlap": overlap,
            "precision": precision,
            "pooling": "mean over residues",
        }
        if isinstance(weights, RandomWeights):
            shape = weights.shape
            parameters |= {"random": weights.seed, "layers": shape.layers, "heads": shape.heads}
        self.card = EncoderCard(
            name=f"{name}:random-{weights.seed}" if isinstance(weights, RandomWeights) else name,
            kind="protein",
            version=VERSION,
            dim=weights.shape.dim,
            parameters=parameters,
            weights_sha256=weights.sha256,
            licence=weights.licence,
            licences=dict(licences or {}),
        )

    @property
    def batch_tokens(self) -> int:
        """Tokens at once, as it stands now."""
        return self._tokens

    def cost(self, text: str) -> int:
        """Return the number of tokens, those of overlapping windows each time."""
        return sum(len(one) + _SPECIAL for one in cut_windows([max(len(text), 1)], self._window, self._overlap))

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return float32 (texts, dim); what is no sequence in ESM's alphabet, or comes out not finite, is a problem.

        Raises:
            ModelError: The weights cannot be loaded; memory ends at a single window; or not one of several sequences
                has finite numbers.
        """
        problems = {place: why for place, text in enumerate(texts) if (why := _problem(text)) is not None}
        good = [place for place in range(len(texts)) if place not in problems]
        vectors = np.full((len(texts), self.card.dim), np.nan, dtype=np.float32)
        if good:
            vectors[good] = self._means([texts[place] for place in good])
        return finite_only(self.card, vectors, problems)

    def _means(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        lengths = [len(text) for text in texts]
        windows = cut_windows(lengths, self._window, self._overlap)
        weights = residue_weights(windows, lengths)
        means = np.zeros((len(texts), self.card.dim), dtype=np.float32)
        waiting = list(batches(windows, self._tokens, extra=_SPECIAL))[::-1]
        while waiting:
            batch = waiting.pop()
            found = self._pooled(batch, texts, weights)
            if found is None:
                waiting.extend(list(batches(batch, self._tokens, extra=_SPECIAL))[::-1])
                continue
            for window, vector in zip(batch, found, strict=True):
                means[window.sequence] += vector
        return means

    def _pooled(
        self, batch: Sequence[Window], texts: Sequence[str], weights: Mapping[Window, npt.NDArray[np.float32]]
    ) -> npt.NDArray[np.float32] | None:
        """Return the weighted sums of the windows' states; None where memory ran out and the batch size was halved."""
        try:
            return self._sums(batch, texts, weights)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ModelError(
                    f"{self.card.name}: memory on {self._device} ends at a single window of {len(batch[0])} residues; "
                    "take a smaller window, bfloat16, a smaller model or a larger device"
                ) from error
        size = sum(len(window) + _SPECIAL for window in batch)
        self._tokens = max(min(self._tokens, size) // 2, 1)
        free_memory(self._device)
        _log.warning("out of memory on %s; going on with %d tokens a batch", self._device, self._tokens)
        return None

    def _sums(
        self, batch: Sequence[Window], texts: Sequence[str], weights: Mapping[Window, npt.NDArray[np.float32]]
    ) -> npt.NDArray[np.float32]:
        lengths = [len(window) + _SPECIAL for window in batch]
        tokens = np.concatenate([_tokens(texts[one.sequence][one.start : one.stop]) for one in batch])
        outside = np.zeros(1, dtype=np.float32)
        weight = np.concatenate([part for one in batch for part in (outside, weights[one], outside)])
        with torch.inference_mode():
            states = self._loaded().states(torch.from_numpy(tokens), lengths, self._layer)
            weighted = states.float() * torch.from_numpy(weight).to(self._device)[:, None]
            sums = torch.segment_reduce(weighted, "sum", lengths=torch.tensor(lengths, device=self._device))
        found: npt.NDArray[np.float32] = sums.cpu().numpy()
        return found

    def _loaded(self) -> PackedEsm:
        if self._model is None:
            self._model = PackedEsm(self._weights.load(self._dtype), device=self._device, dtype=self._dtype)
        return self._model


def make_esm(
    name: str, options: Mapping[str, Any], *, device: str = "cpu", licences: Mapping[str, str] | None = None
) -> EsmEncoder:
    """Make an ESM-2 from its options, as the module says them.

    Raises:
        UsageError: No ESM-2 has that name, or an option does not fit.
        ModelError: Weights that are missing or of another architecture, or a device that is not there.
    """
    full = {short.rpartition("_")[0]: short for short in PUBLISHED}.get(name, name)
    if full not in {*PUBLISHED, CUSTOM}:
        raise UsageError(f"no ESM-2 is called {name!r}; there are: {', '.join(PUBLISHED)}, and {CUSTOM} for your own")
    left = dict(options)
    chosen = _chosen(full, left)
    open_device(device)  # said before a long look at weights
    weights = find_weights(full, left)
    if left:
        raise UsageError(f"encoder {full} has no option {', '.join(sorted(left))}")
    layers = weights.shape.layers
    if not -layers - 1 <= chosen["layer"] <= layers:
        raise UsageError(f"encoder {full}: layer {chosen['layer']} is not there; it has 0 (embeddings) to {layers}")
    return EsmEncoder(full, weights, device=device, licences=licences, **chosen)


def _chosen(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Take what changes a vector or the speed out of ``options``, checked."""
    chosen = {
        "layer": options.pop("layer", -1),
        "window": options.pop("window", TRAINED_WINDOW),
        "overlap": options.pop("overlap", OVERLAP),
        "batch_tokens": options.pop("batch_tokens", None),
    }
    for option, value in chosen.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise UsageError(f"encoder {name}: {option!r} is a whole number, not {value!r}")
    if chosen["window"] < 1 or not 0 <= chosen["overlap"] < chosen["window"] or (chosen["batch_tokens"] or 1) < 1:
        raise UsageError(
            f"encoder {name}: window {chosen['window']} must be at least 1 and more than overlap {chosen['overlap']}, "
            "which is at least 0; batch_tokens is at least 1"
        )
    chosen["precision"] = options.pop("precision", "float32")
    if chosen["precision"] not in _PRECISIONS:
        raise UsageError(f"encoder {name}: precision is one of {', '.join(_PRECISIONS)}, not {chosen['precision']!r}")
    return chosen


def _problem(text: str) -> str | None:
    problem = sequence_problem(text)
    if problem is None and "J" in text:
        return f"'J' at residue {text.index('J') + 1} of {len(text)} is not in ESM-2's alphabet"
    return problem


def _tokens(residues: str) -> npt.NDArray[np.int64]:
    inner = _TOKEN_OF[np.frombuffer(residues.encode("ascii"), dtype=np.uint8)]
    return np.concatenate([[CLS], inner, [EOS]])
