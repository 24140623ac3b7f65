"""``aroma doctor``: what is installed, reachable, out of date, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import httpx

from aroma.jobs import doctor_home
from aroma.jobs.broker import BROKER_VARIABLE, broker_address, broker_state
from aroma.jobs.findings import Finding, broken, good, missing_of_extra, note, program, warning
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.publications import published, write_layout
from aroma.observe.tracing import ENDPOINT_VARIABLE

_API_SECONDS: Final = 5.0
_HOME_CHECKS: Final = (
    ("release", doctor_home.release),
    ("snapshot", doctor_home.snapshot),
    ("locks", doctor_home.locks),
    ("disk", doctor_home.disk),
    ("clock", doctor_home.clock),
    ("tokens", doctor_home.tokens),
    ("runs", doctor_home.runs),
)


def examine(home: Home, target: GraphTarget, api: str | None = None) -> list[Finding]:
    """Look at everything; changes nothing and starts nothing.

    Args:
        home: The home, of any layout.
        target: The database that is meant.
        api: Address of a server that should be up; None for none.
    """
    found = [*doctor_home.checked("program", program())]
    found += doctor_home.checked("home", doctor_home.layout(home))
    if home.path.is_dir() and not any(finding.standing == "broken" for finding in found):
        for area, check in _HOME_CHECKS:
            found += doctor_home.checked(area, check(home))
        found += doctor_home.checked("database", _database(home, target))
    found += doctor_home.checked("broker", _broker())
    found += doctor_home.checked("telemetry", _telemetry())
    if api:
        found += doctor_home.checked("api", _api(home, api))
    return found


def upgrade(home: Home) -> list[str]:
    """Bring a home to this program's layout: projections of an older one are made anew; returns what was done.

    Raises:
        ReleaseError: A newer program made the home, or tables are of another schema and must be built again.
    """
    from aroma.errors import ReleaseError
    from aroma.kgstore.home import LAYOUT
    from aroma.retrieval.snapshot import make_snapshot

    if home.layout() > LAYOUT:
        raise ReleaseError(home.layout_problem() or "")
    done = []
    if (current := published(home)) is not None:
        make_snapshot(home, current.release)
        done.append(f"the snapshot of {current.release} is sound")
    write_layout(home)
    return [*done, f"layout {LAYOUT} is written down"]


def _database(home: Home, target: GraphTarget) -> Iterator[Finding]:
    from aroma.kgstore.engines import open_engine
    from aroma.kgstore.migration_service import migrate_target

    current = published(home)
    held = open_engine(home, target).holds()
    named = "the embedded engine" if target.is_embedded else target.uri
    if current is None:
        yield good("database", f"{named}; nothing is published yet")
    elif held is None and target.is_embedded:
        found = f"{current.release} has no embedded database: Cypher and text search do not answer"
        yield warning("database", found, f"aroma releases open {current.release}")
    elif held is None or (held.release, held.sequence) != (current.release, current.sequence):
        holds = f"holds {held.release} (number {held.sequence})" if held else "holds no release"
        yield broken("database", f"{named} {holds}, published is {current.release}", "aroma releases verify --repair")
    elif held.state != "published":
        yield warning("database", f"{named} is being published to", "wait, or run the aroma build again that was ended")
    else:
        yield good("database", f"{named} holds {held.release}, number {held.sequence}")
    if not target.is_embedded:  # the embedded engine would have to be started, and is filled with all of them
        _, states = migrate_target(home, target, only_show=True)
        missing = [f"V{state.version:03d}" for state in states if state.applied_at is None]
        if missing:
            yield broken("database", f"{named} lacks the migrations {', '.join(missing)}", "aroma migrate")
        else:
            yield good("database", f"all {len(states)} migrations are applied")


def _broker() -> Iterator[Finding]:
    address = broker_address()
    if address is None:
        yield note("broker", f"{BROKER_VARIABLE} is not set: workers look into the ledger by themselves")
        return
    if lacking := missing_of_extra("jobs"):
        yield broken("broker", f"{BROKER_VARIABLE} is set and {', '.join(lacking)} is missing", _pip("jobs"))
        return
    state = broker_state(address)
    if state.reachable:
        yield good("broker", f"{state.address} answers")
    else:
        do = f"start Redis there, or unset {BROKER_VARIABLE}; runs go on without it, some seconds later"
        yield warning("broker", f"{state.address} does not answer", do)


def _telemetry() -> Iterator[Finding]:
    if os.environ.get(ENDPOINT_VARIABLE) and missing_of_extra("telemetry"):
        yield broken("telemetry", f"{ENDPOINT_VARIABLE} is set and OpenTelemetry is missing", _pip("telemetry"))


def _api(home: Home, address: str) -> Iterator[Finding]:
    try:
        answer = httpx.get(f"{address.rstrip('/')}/v1/health", timeout=_API_SECONDS, trust_env=False)
        said = answer.raise_for_status().json()
        served, version = said["release"], said["version"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        yield broken("api", f"{address} does not answer: {error}", "aroma serve")
        return
    current = published(home) if home.path.is_dir() else None
    if current is not None and served != current.release:
        found = f"{address} serves {served}, published is {current.release}"
        yield warning("api", found, "wait until it has opened it (its log says why where it cannot)")
    else:
        yield good("api", f"{address} serves {served}, aroma {version}")


def _pip(extra: str) -> str:
    return f"pip install 'aroma-evidence[{extra}]'"
