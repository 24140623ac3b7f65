"""What servers answer from: the published release, opened; a newer one takes its place when it is open as well."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar

from aroma.errors import AromaError
from aroma.kgstore.home import Home
from aroma.kgstore.outcomes import list_outcomes
from aroma.kgstore.publications import Publication, require_published
from aroma.kgstore.releases import find_release
from aroma.kgstore.views import PRESETS, ViewDefinition
from aroma.retrieval.descriptions import read_texts
from aroma.retrieval.evidence import EvidenceOptions, EvidenceStore
from aroma.retrieval.evidence_model import EVIDENCE_VERSION
from aroma.retrieval.snapshot import View
from aroma.retrieval.withhold import Withhold, read_withhold

_LOOK_SECONDS: Final = 0.25
_VARIANTS: Final = 16
_WITHHELD_VARIANTS: Final = 4
_DERIVED_VIEWS: Final = 4
_WARM_PAIRS: Final = 20
_KEPT_PERTURBATIONS: Final = 3_000
_log = logging.getLogger("aroma.served")
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Seen:
    """Which measured outcomes a server shows.

    Attributes:
        outcomes: Version of the outcomes, ``none`` for none; None for the latest stored, where there is one.
        withhold: Outcomes that no request may see (``aroma.retrieval.withhold.read_withhold``).
        texts: A lab's own descriptions (``aroma.retrieval.descriptions.read_texts``), read when a release is opened.
    """

    outcomes: str | None = None
    withhold: tuple[str, ...] = ()
    texts: Path | None = None


class Recent:
    """A small cache of things that are dear to make; each is made once, by one thread at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Return what is kept under ``key``, made now where it is not there; what is there never waits for making."""
        found: Kept | None = self._find(key)
        if found is not None:
            return found
        with self._making:
            found = self._find(key)
            if found is None:
                found = make()
                with self._lock:
                    self._kept[key] = found
                    while len(self._kept) > self._most:
                        self._kept.popitem(last=False)
            return found

    def _find(self, key: Hashable) -> Any:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept


class Opened:
    """One release, opened, with what requests ask of it in variations."""

    def __init__(self, home: Home, seen: Seen, release: str, sequence: int) -> None:
        self.home, self.release, self.sequence = home, release, sequence
        self.outcomes = _outcomes(home, seen)
        self._seen_asked = seen.withhold
        self.own_withhold = read_withhold(seen.withhold, home)
        started = time.perf_counter()
        options = EvidenceOptions(kept=_KEPT_PERTURBATIONS)
        self._texts = {} if seen.texts is None else read_texts(seen.texts)
        self.base = EvidenceStore(
            home,
            release,
            outcomes=self.outcomes,
            withhold=self.own_withhold,
            texts=self._texts,
            options=options,
        )
        self._variants, self._seen = Recent(_VARIANTS), Recent(_WITHHELD_VARIANTS)
        self._views, self._presets = Recent(_DERIVED_VIEWS), Recent(len(PRESETS))
        self._warm()
        self.etag = self._etag()
        _log.info("opened", extra={"fields": {"release": release, "seconds": round(time.perf_counter() - started, 2)}})

    def store(self, options: EvidenceOptions, withhold: tuple[str, ...] = ()) -> EvidenceStore:
        """Return the store that answers under these options; made first where they are new.

        Raises:
            UsageError: Something to withhold that is unknown or a file, or options out of range.
        """
        asked, options = _normal(options, withhold)
        if not asked and options == self.base.options:
            return self.base
        return self._variants.get((options, asked), lambda: self._variant(options, asked))

    def is_ready(self, options: EvidenceOptions, withhold: tuple[str, ...] = ()) -> bool:
        """Tell whether ``store`` answers at once."""
        asked, options = _normal(options, withhold)
        return (not asked and options == self.base.options) or (options, asked) in self._variants

    def view(self, definition: ViewDefinition) -> View:
        """Return a view; those that are no presets are laid out in memory, the last few are kept."""
        if definition in PRESETS.values():
            return self._presets.get(definition.id, lambda: self.base.snapshot.view(definition))
        return self._views.get(definition.id, lambda: self.base.snapshot.derive(definition))

    def withholding(self, asked: tuple[str, ...]) -> Withhold:
        """Return what is withheld for a request: the server's own and what the request adds.

        Raises:
            UsageError: Of an unknown kind. (Unknown splits, lines and genes are refused when they are applied:
                withholding nothing in silence would leak.)
        """
        return read_withhold((*self._seen_asked, *asked), self.home)

    def _variant(self, options: EvidenceOptions, asked: tuple[str, ...]) -> EvidenceStore:
        base = self.base
        if asked:
            hidden = self.withholding(asked)
            base = self._seen.get(asked, lambda: self.base.variant(outcomes=self.outcomes, withhold=hidden))
        return base.variant(options=options, view=self.view(options.paths.definition))

    def _warm(self) -> None:
        """Answer a few questions, so that compiled code, kernels and tables are there before the first request."""
        genes = sorted(self.base.resolver.symbols)[: _WARM_PAIRS * 2]
        for one, other in zip(genes[::2], genes[1::2], strict=False):
            self.base.evidence(one, other, "K562")
        self.base.resolve("no gene is called so")
        self.base.resolver.nearest("no gene is called so")

    def _etag(self) -> str:
        hidden = self.own_withhold
        pairs = "" if hidden.pairs is None else str(hidden.pairs.hash_rows().sort().sum())
        seen = "" if self.outcomes is None else str(self.base.outcomes_digest)
        texts = str(sorted(self._texts.items())) if self._texts else ""
        embedded = ",".join(self.base.embeddings.digests)
        parts = (self.release, EVIDENCE_VERSION, version("aroma-evidence"), seen, str(hidden.describe()))
        said = "|".join((*parts, pairs, texts, embedded))
        return f'"{self.release}.{hashlib.sha256(said.encode()).hexdigest()[:12]}"'


def _normal(options: EvidenceOptions, withhold: tuple[str, ...]) -> tuple[tuple[str, ...], EvidenceOptions]:
    """Return what is withheld in one order, and options with what only changes speed set to ours."""
    return tuple(sorted(set(withhold))), replace(options, kept=_KEPT_PERTURBATIONS)


def _outcomes(home: Home, seen: Seen) -> str | None:
    """Return the version of the outcomes that is shown."""
    if seen.outcomes is not None:
        return None if seen.outcomes == "none" else seen.outcomes
    stored = list_outcomes(home)
    return stored[-1].sha256 if stored else None


class Served:
    """The release that is served now; notices a new publication and opens it beside the old one.

    Raises:
        ReleaseError: Nothing is published.
    """

    def __init__(self, home: Home, seen: Seen) -> None:
        self.home, self._seen = home, seen
        self.started = time.monotonic()
        self.opening: str | None = None
        self._mark = self._stamp()
        publication = require_published(self.home)
        self.now = Opened(self.home, seen, publication.release, publication.sequence)
        self._older = Recent(1)
        self._looked, self._lock = time.monotonic(), threading.Lock()

    def look(self) -> Opened:
        """Return what is served; looks at the publications at most every quarter of a second."""
        present = time.monotonic()
        if present - self._looked > _LOOK_SECONDS:
            self._looked = present
            if self.opening is None and self._stamp() != self._mark:
                self._renew()
        return self.now

    def at(self, release: str | None) -> Opened:
        """Return the served release, or an older one, opened first where it is not the last asked for.

        Raises:
            ReleaseError: There is no such release.
        """
        if release is None or (found := find_release(self.home, release)) == self.now.release:
            return self.now
        return self._older.get(found, lambda: Opened(self.home, self._seen, found, 0))

    def _stamp(self) -> tuple[int, int, int]:
        try:
            state = self.home.published.stat()
        except OSError:
            return (0, 0, 0)
        return (state.st_mtime_ns, state.st_ino, state.st_size)

    def _renew(self) -> None:
        with self._lock:
            if self.opening is not None:
                return
            stamp = self._stamp()
            try:
                publication = require_published(self.home)
            except (AromaError, OSError) as error:
                _log.error("publications cannot be read", extra={"fields": {"error": str(error)}})
                return
            if publication.release == self.now.release:
                self.now.sequence, self._mark = publication.sequence, stamp
                return
            self.opening = publication.release
        threading.Thread(target=self._open, args=(publication, stamp), name="aroma-open", daemon=True).start()

    def _open(self, publication: Publication, stamp: tuple[int, int, int]) -> None:
        try:
            self.now = Opened(self.home, self._seen, publication.release, publication.sequence)
        except (AromaError, OSError) as error:  # the old release stays; the next publication is tried again
            _log.error(
                "new release cannot be opened", extra={"fields": {"release": publication.release, "error": str(error)}}
            )
        finally:
            self._mark = stamp
            self.opening = None
