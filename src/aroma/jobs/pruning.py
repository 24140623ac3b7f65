"""What of the embeddings nobody needs any more: sets of releases that are gone, damaged sets, files of ended runs."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aroma.errors import UsageError
from aroma.jobs.asking import FASTA_PREFIX
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run
from aroma.kgstore.releases import known_releases
from aroma.retrieval.vector_store import EncoderCard, embeddings_directory, list_vector_sets

_PARTIAL: Final = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.(?:partial|old)")
_OLD_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Prunable:
    """A directory that may go.

    Attributes:
        path: Which.
        why: Why.
        bytes: How much is in it.
        run: Id of the run that goes with it, where it is a run's.
    """

    path: Path
    why: str
    bytes: int
    run: str | None = None


def find_prunable(home: Home, ledger: Ledger, named: Sequence[str] = ()) -> list[Prunable]:
    """Return what may go: sets of releases that were pruned, sets that do not open, leftovers, and sets by name.

    Sets of an encoder with an open run stay, whatever their release: the run may take vectors over from them. Sets of
    FASTA files stay until they are named.

    Args:
        home: Where.
        ledger: The ledger.
        named: Sets that are to go too: ``<encoder id>/<release>`` as ``aroma embed list`` shows them.

    Raises:
        UsageError: No set is called so.
    """
    sets = list(_sets(home, ledger, named))
    going = {path for path, _, _ in sets}
    found = [*sets, *_partials(home), *_run_files(home, ledger), *_models(home, going)]
    return [Prunable(path, why, _size(path), run) for path, why, run in found]


def remove(ledger: Ledger, prunable: Sequence[Prunable]) -> None:
    """Delete what was found, and forget runs whose files went."""
    for one in prunable:
        shutil.rmtree(one.path, ignore_errors=True)
        if one.run is not None:
            ledger.forget(one.run)


def _sets(home: Home, ledger: Ledger, named: Sequence[str]) -> Iterator[tuple[Path, str, str | None]]:
    whole = {f"{one.card.id}/{one.release}": one for one in list_vector_sets(home)}
    paths = {f"{path.parent.name}/{path.name}": path for path in sorted(embeddings_directory(home).glob("e*/*/"))}
    unknown = [name for name in named if name not in paths]
    if unknown:
        raise UsageError(f"no vector set is called {unknown[0]!r}; aroma embed list shows them")
    releases, busy = set(known_releases(home)), _busy_encoders(ledger)
    for name, path in paths.items():
        if path.name.startswith("."):
            continue
        if name in named:
            yield path, "named", None
        elif name not in whole:
            yield path, "damaged", None
        elif path.name not in releases and not path.name.startswith(FASTA_PREFIX) and path.parent.name not in busy:
            yield path, "its release is gone", None


def _busy_encoders(ledger: Ledger) -> set[str]:
    cards = [run.facts.get("encoder", {}) for run in ledger.runs() if run.is_open and run.kind == "embed"]
    return {EncoderCard(**card).id for card in cards}


def _partials(home: Home) -> Iterator[tuple[Path, str, str | None]]:
    for path in sorted(embeddings_directory(home).glob("e*/.*/")):
        match = _PARTIAL.fullmatch(path.name)
        is_old = time.time() - path.stat().st_mtime > _OLD_SECONDS  # it may be another machine's, at work
        if is_old and (path.name.endswith(".aside") or (match and not _lives(int(match["pid"])))):
            yield path, "left over", None


def _run_files(home: Home, ledger: Ledger) -> Iterator[tuple[Path, str, str | None]]:
    runs: dict[str, Run] = {run.id: run for run in ledger.runs()}
    for path in sorted((embeddings_directory(home) / "runs").glob("*/")):
        run = runs.get(path.name)
        if run is None:
            yield path, "of no run", None
        elif not run.is_open:
            yield path, f"of a run that is {run.state}", run.id


def _models(home: Home, going: set[Path]) -> Iterator[tuple[Path, str, str | None]]:
    kept = {(one.card.id, one.release) for one in list_vector_sets(home) if one.directory not in going}
    for path in sorted((embeddings_directory(home) / "models").glob("e*/*/")):
        if (path.parent.name, path.name) not in kept and not path.name.startswith("."):
            yield path, "the model of a vector set that is gone", None


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
