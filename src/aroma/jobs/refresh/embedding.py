"""Making the vector sets of the release before for the new one; what is unchanged is taken over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from aroma.errors import AromaError
from aroma.jobs.asking import Wish, plan_training, plan_wish
from aroma.jobs.broker import broker_address, wake
from aroma.jobs.kinds import TRAINING, work_function
from aroma.jobs.watching import require_done
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run
from aroma.kgstore.work_loop import STOP, StoppedError
from aroma.retrieval.vector_store import VectorSet, list_vector_sets

_WAIT_SECONDS: Final = 0.5
_COMMON: Final = frozenset({"encoder", "licences"})


def embed_again(
    home: Home, ledger: Ledger, before: str, release: str, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Embed a release with every encoder that another one has vectors of; return what became of each.

    An encoder whose run is no longer known, or whose weights are gone, is left out and said: it stops nothing.

    Args:
        home: Where.
        ledger: The ledger, which knows how each set was asked for.
        before: The release that has them.
        release: The release to embed.
        say: Told what is being done.
    """
    there = {one.card.id for one in list_vector_sets(home) if one.release == release}
    found: list[dict[str, Any]] = []
    for one in list_vector_sets(home):
        if one.release != before or one.card.id in there:
            continue
        say(f"embedding with {one.card.name}")
        try:
            run = _done(home, ledger, _planned(home, ledger, one, release))
        except StoppedError:
            raise
        except AromaError as error:
            found.append({"encoder": one.card.name, "problem": str(error)})
        else:
            found.append({"encoder": one.card.name, "run": run.id, "to_embed": run.facts.get("to_embed")})
    return found


def _planned(home: Home, ledger: Ledger, one: VectorSet, release: str) -> Run:
    facts = ledger.run(str(one.facts["run"])).facts if "run" in one.facts else {}
    device = "cpu"
    if "options" in facts and "spec" not in facts:
        return plan_training(home, ledger, dict(facts["options"]), device, release)
    if "spec" not in facts:
        raise AromaError(f"{one.card.name}: how it was asked for is not known any more; run aroma embed for it")
    spec = dict(facts["spec"])
    options = {name: value for name, value in spec.items() if name not in _COMMON}
    return plan_wish(home, ledger, Wish(one.card.kind, spec["encoder"], options, device, release)).run


def _done(home: Home, ledger: Ledger, run: Run) -> Run:
    """Do a run here, with whoever else does its shards; a training is left to workers where a broker wakes some."""
    address = broker_address()
    if address is not None and run.is_open and run.kind == TRAINING:
        wake(address, run.id, run.queue, 1)
    while (now := ledger.run(run.id)).is_open:
        if STOP.is_set():
            raise StoppedError(f"run {run.id}: this process ends")
        if not work_function(run.kind)(home, ledger, run.id, device="cpu", worker=None):
            time.sleep(_WAIT_SECONDS)
    return require_done(now)
