"""A saved AROMA: a directory that is there whole or not at all, of safetensors, JSON and text; nothing is pickled.

::

    aroma.json                  the card: layout, options, base, vector sets, release, split, metrics, files' sha256
    interaction.safetensors     the interaction modules, float32
    adapter/                    of peft: adapter_config.json, adapter_model.safetensors; where there is an adapter
    tokenizer/                  with the placeholders
    template.txt.j2             the prompt template's text
    base/                       the base's weights, of a tiny base or of one that was trained itself
"""

from __future__ import annotations

import importlib.metadata
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from aroma.errors import ModelError, UsageError
from aroma.kgstore.publications import write_durably
from aroma.kgstore.whole import whole_directory
from aroma.model.aroma.bases import base_card, check_base, open_base
from aroma.model.aroma.interaction import InteractionTokens
from aroma.model.aroma.language_model import Aroma
from aroma.model.aroma.modalities import ModalityBank
from aroma.model.aroma.options import TINY, AromaOptions
from aroma.model.aroma.tokens import open_tokenizer
from aroma.model.embeddings.devices import open_device, quiet_loading
from aroma.model.ground import Ground
from aroma.retrieval.columns import file_sha256
from aroma.retrieval.prompts import read_template

try:
    import torch
    from peft import PeftModel
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file
except ModuleNotFoundError as error:
    raise ModelError(
        f"AROMA needs the package {error.name}; install it with: pip install 'aroma-evidence[language-model]'"
    ) from error

LAYOUT: Final = 1
CARD: Final = "aroma.json"
INTERACTION: Final = "interaction.safetensors"
ADAPTER: Final = "adapter"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
TOKENIZER: Final = "tokenizer"
TEMPLATE: Final = "template.txt.j2"
BASE: Final = "base"
_IN_ADAPTER: Final = "lora_"
_WRAPPED: Final = ".base_layer"
_PACKAGES: Final = ("torch", "transformers", "peft", "trl", "tokenizers")


@dataclass(frozen=True, slots=True)
class AromaCard:
    """What a saved AROMA says of itself.

    Attributes:
        release: Release id that evidence and vectors come from.
        vectors: ``ModalityBank.card()``: encoder, id, digest and licences of each modality's vector set.
        split: Name of the training split.
        training_sha256: Hash of the sorted training rows; empty where it was not trained.
        training_rows: Their number.
        withheld_rows: Measured rows that the split withheld.
        stages: What was trained, in order: ``sft``, ``grpo``.
        metrics: Measured on rows not seen.
        licences: Provider and licence of what went in.
        more: Anything else, JSON values.
        base: Filled in by ``save_aroma``: name, hash of the configuration and of the weights.
        versions: Filled in: of the packages that made it.
        made_at: Filled in: ISO 8601, UTC.
    """

    release: str
    vectors: Mapping[str, Any]
    split: str = "all"
    training_sha256: str = ""
    training_rows: int = 0
    withheld_rows: int = 0
    stages: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    made_at: str = ""

    @classmethod
    def of(cls, ground: Ground, bank: ModalityBank, **said: Any) -> Self:
        """Return the card of a model over a release and its vector sets."""
        return cls(release=ground.release, vectors=bank.card(), **said)


class Loaded(NamedTuple):
    """A loaded AROMA: the model in evaluation mode, the vector sets that it reads, and its card."""

    aroma: Aroma
    bank: ModalityBank
    card: AromaCard


def save_aroma(aroma: Aroma, directory: Path, card: AromaCard) -> AromaCard:
    """Write a model into a directory, there whole or not at all; return the card as written.

    Raises:
        ModelError: Something is in the way, or the place cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ModelError(f"{directory}: something is there already; choose another directory or remove it")
    try:
        with whole_directory(directory, or_theirs=False) as made:
            said = _write(aroma, made, card)
    except OSError as error:
        raise ModelError(f"{directory}: cannot be written ({error.strerror or error})") from error
    return said


def _write(aroma: Aroma, partial: Path, card: AromaCard) -> AromaCard:
    options = aroma.options
    save_weights(aroma, partial)
    if _keeps_base(aroma) and not (partial / BASE).exists():
        _save_base(aroma, partial / BASE)
    aroma.tokenizer.save_pretrained(partial / TOKENIZER)
    (partial / TEMPLATE).write_text(read_template(options.template), encoding="utf-8")
    said = replace(
        card,
        base=base_card(options),
        versions={name: importlib.metadata.version(name) for name in (*_PACKAGES, "aroma-evidence")},
        made_at=datetime.now(tz=UTC).isoformat(timespec="seconds"),
    )
    paths = sorted(path for path in partial.rglob("*") if path.is_file())
    body = {
        "layout": LAYOUT,
        "options": options.as_json(),
        "adapter": isinstance(aroma.base, PeftModel),
        "card": asdict(said),
        "files": {path.relative_to(partial).as_posix(): file_sha256(path) for path in paths},
    }
    write_durably(partial / CARD, json.dumps(body, indent=1, sort_keys=True))
    return said


def save_weights(aroma: Aroma, directory: Path) -> None:
    """Write interaction modules, adapter, and the base where it is trained itself; for checkpoints of a training."""
    directory.mkdir(parents=True, exist_ok=True)
    if aroma.interaction is not None:
        state = {name: one.detach().cpu().contiguous() for name, one in aroma.interaction.state_dict().items()}
        save_file(state, directory / INTERACTION)
    if isinstance(aroma.base, PeftModel):
        aroma.base.save_pretrained(str(directory / ADAPTER), safe_serialization=True)
        (directory / ADAPTER / "README.md").unlink(missing_ok=True)  # a form to fill in; the card says it
    if _is_thawed(aroma):
        _save_base(aroma, directory / BASE)


def load_weights(aroma: Aroma, directory: Path) -> None:
    """Read what ``save_weights`` wrote into a model of the same options.

    Raises:
        ModelError: A file is missing, damaged, or of a model of another shape.
    """
    if aroma.interaction is not None:
        _load_interaction(aroma.interaction, directory / INTERACTION)
    if isinstance(aroma.base, PeftModel):
        from peft import set_peft_model_state_dict

        path = directory / ADAPTER / ADAPTER_WEIGHTS
        state = _tensors(path)
        try:
            told: Any = set_peft_model_state_dict(aroma.base, state)
        except RuntimeError as error:
            raise _other_adapter(path, error) from error
        if told.unexpected_keys:
            raise _other_adapter(path, f"it has {told.unexpected_keys[0]}")
    if (directory / BASE).is_dir():
        loaded = open_base(directory / BASE, aroma.options.dtype)
        own = loaded.state_dict()
        with torch.no_grad():
            for name, held in aroma.language_model.state_dict().items():
                if _IN_ADAPTER not in name:
                    held.copy_(own[name.replace(_WRAPPED, "")])


def _save_base(aroma: Aroma, place: Path) -> None:
    """Write the base without its adapter, whose layers are wrapped around the base's own."""
    quiet_loading()
    state = aroma.language_model.state_dict()
    own = {name.replace(_WRAPPED, ""): one for name, one in state.items() if _IN_ADAPTER not in name}
    aroma.language_model.save_pretrained(place, state_dict=own, safe_serialization=True)


def load_aroma(
    directory: Path, ground: Ground, *, device: str | None = None, base: str | None = None, trainable: bool = False
) -> Loaded:
    """Return a saved model, with its vector sets; it must fit the release, the vectors and the base that made it.

    Args:
        directory: Where it was saved.
        ground: The opened release.
        device: Instead of the saved option.
        base: Where the base is now, if it was moved.
        trainable: Whether the adapter goes on being trained.

    Raises:
        ModelError: No model, a damaged file, another release, other vectors, another base, or an adapter of another
            base; the message names what differs and says what to do.
    """
    body = read_body(directory)
    card, options = _card_of(directory, body), _options_of(directory, body)
    _check_files(directory, body["files"])
    if card.release != ground.release:
        raise ModelError(
            f"{directory}: made from release {card.release}, not {ground.release}; open that release (--release) or "
            "train again"
        )
    bank = _fitting_bank(directory, ground, options, card)
    options = replace(
        options,
        base=base or options.base,
        template=str(directory / TEMPLATE),
        device=device or options.device,
    )
    where = open_device(options.device)
    model = _open_saved_base(directory, options, card)
    if body["adapter"]:
        model.requires_grad_(requires_grad=False)
    tokenizer = open_tokenizer(directory / TOKENIZER)
    aroma = Aroma.around(model, tokenizer, options, bank)
    if aroma.interaction is not None:
        _load_interaction(aroma.interaction, directory / INTERACTION)
    if body["adapter"]:
        aroma.base = _open_adapter(aroma.base, directory / ADAPTER, trainable=trainable)
    return Loaded(aroma.to(where).eval(), bank, card)


def read_aroma_card(directory: Path) -> AromaCard:
    """Return the card of a saved model without opening it.

    Raises:
        ModelError: There is no model, or the card is damaged.
    """
    return _card_of(directory, read_body(directory))


def read_body(directory: Path) -> dict[str, Any]:
    """Return the whole of ``aroma.json``.

    Raises:
        ModelError: There is no model, or the file is damaged or of another layout.
    """
    path = directory / CARD
    try:
        body = dict(json.loads(path.read_text(encoding="utf-8")))
        layout, _ = body["layout"], bool(body["adapter"])
        for name in ("options", "card", "files"):
            body[name] = dict(body[name].items())
    except FileNotFoundError as error:
        raise ModelError(f"{directory}: there is no AROMA here ({CARD} is missing); give a saved one") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: is no card ({error}); restore it or train again") from error
    if layout != LAYOUT:
        raise ModelError(f"{path}: layout {layout}, this program reads {LAYOUT}; train again")
    return body


def _card_of(directory: Path, body: Mapping[str, Any]) -> AromaCard:
    try:
        said = dict(body["card"])
        card = AromaCard(**{**said, "stages": tuple(said["stages"])})
        ids = {name: (one["encoder"], one["id"], one["digest"]) for name, one in card.vectors.items()}
        fits = set(ids) == set(body["options"]["modalities"]) and bool(card.base["name"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{directory / CARD}: is no card ({error}); restore it or train again") from error
    if not fits:
        named = ", ".join(ids) or "no modality"
        raise ModelError(f"{directory / CARD}: is no card (its vectors are of {named}); restore it or train again")
    return card


def _options_of(directory: Path, body: Mapping[str, Any]) -> AromaOptions:
    try:
        return AromaOptions.of(body["options"])
    except (UsageError, TypeError, AttributeError) as error:
        raise ModelError(f"{directory / CARD}: its options do not fit ({error}); restore it or train again") from error


def _check_files(directory: Path, files: Mapping[str, str]) -> None:
    for name, sha256 in files.items():
        path = directory / name
        if not path.is_file():
            raise ModelError(f"{path}: is missing; restore it or train again")
        if file_sha256(path) != sha256:
            raise ModelError(f"{path}: is not the file that was saved; restore it or train again")


def _fitting_bank(directory: Path, ground: Ground, options: AromaOptions, card: AromaCard) -> ModalityBank:
    """Open the vector sets by encoder id, so that a second one of the same name does no harm."""
    ids = {name: str(said["id"]) for name, said in card.vectors.items()}
    try:
        bank = ModalityBank.open(ground, replace(options, encoders={**options.encoders, **ids}))
    except ModelError as error:
        names = ", ".join(f"{name}: {said['encoder']} ({said['id']})" for name, said in card.vectors.items())
        raise ModelError(f"{directory}: {error}; the model was made with {names}") from error
    for name, said in bank.card().items():
        was = card.vectors[name]
        if was["digest"] != said["digest"]:
            raise ModelError(
                f"{directory}: modality {name} was made with the vectors {was['digest']} of {was['encoder']}, and "
                f"release {ground.release} has {said['digest']} now; restore those vectors or train again"
            )
    return bank


def _open_saved_base(directory: Path, options: AromaOptions, card: AromaCard) -> Any:
    if (directory / BASE).is_dir():
        return open_base(directory / BASE, options.dtype)
    place = Path(options.base)
    if not place.is_dir():
        raise ModelError(
            f"{directory}: its base {card.base['name']} was in {place}, where nothing is; say where it is now (base)"
        )
    check_base(place)
    here = base_card(options)
    for part, what in (("config_sha256", "configuration"), ("weights_sha256", "weights")):
        if here[part] != card.base.get(part):
            raise ModelError(
                f"{directory}: the adapter is of {card.base['name']} with {what} {str(card.base.get(part))[:12]}, and "
                f"{place} has {str(here[part])[:12]}; give the base that it was trained on"
            )
    return open_base(place, options.dtype)


def _open_adapter(base: Any, directory: Path, *, trainable: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # peft's use of transformers
            return PeftModel.from_pretrained(base, str(directory), is_trainable=trainable)
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise _other_adapter(directory, error) from error


def _other_adapter(place: Path, error: object) -> ModelError:
    said = (str(error).strip().splitlines() or [""])[-1].strip()
    return ModelError(f"{place}: the adapter does not fit this base ({said}); give the base that it was trained on")


def _load_interaction(modules: InteractionTokens, path: Path) -> None:
    state = _tensors(path)
    try:
        modules.load_state_dict(state)
    except RuntimeError as error:
        said = str(error).strip().splitlines()[-1].strip()
        raise ModelError(
            f"{path}: is of interaction modules of another shape ({said}); give the saved options"
        ) from error


def _tensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); restore it or train again") from error


def _is_thawed(aroma: Aroma) -> bool:
    """Return whether weights of the base itself are trained."""
    return any(one.requires_grad and _IN_ADAPTER not in name for name, one in aroma.language_model.named_parameters())


def _keeps_base(aroma: Aroma) -> bool:
    return aroma.options.base in TINY or _is_thawed(aroma)


__all__ = [
    "AromaCard",
    "Loaded",
    "load_aroma",
    "load_weights",
    "read_aroma_card",
    "read_body",
    "save_aroma",
    "save_weights",
]
