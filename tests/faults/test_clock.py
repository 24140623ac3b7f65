"""A clock that jumps by a year, forward and back, while workers refresh: by libfaketime (Debian: libfaketime).

Wall clocks jump, monotonic ones do not: that is what an operator's mistake, or a virtual machine that was asleep, does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from aroma.jobs.refresh.run import refresh_ledger
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import Home
from aroma.kgstore.ledger_tables import SHARDS
from aroma.kgstore.tokens import create_token
from tests.faults.stage import Api, Part, Stage, command, standing
from tests.support.refresh_samples import ACCEPTED

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(1200)]
YEAR = 365 * 86_400
Jump = Callable[[int], None]
"""Sets the clock so many seconds off."""


@pytest.fixture
def clock(tmp_path: Path) -> tuple[dict[str, str], Jump]:
    """The environment of processes with a clock of their own, and how to set it."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("no libfaketime (Debian: apt-get install libfaketime)")
    offset = tmp_path / "clock"

    def jump(seconds: int) -> None:
        beside = offset.with_suffix(".new")
        beside.write_text(f"{seconds:+d}s\n")
        beside.replace(offset)

    jump(0)
    settings = {"FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return {"LD_PRELOAD": str(found[0]), "DONT_FAKE_MONOTONIC": "1", **settings}, jump


@pytest.fixture
def home(stage: Stage, tmp_path: Path) -> Iterator[Home]:
    """A copy of the stage's home."""
    made = Home(tmp_path / "home")
    stage.copy_to(made)
    yield made
    stop_owner(made)


def test_a_refresh_by_a_worker_whose_clock_jumps(
    stage: Stage, home: Home, clock: tuple[dict[str, str], Jump], tmp_path: Path
) -> None:
    """From a built release to a promotion: no lease is lost, no step is done twice, and the result is the same."""
    more, jump = clock
    accepted = [word for gate in ACCEPTED for word in ("--accept", gate)]
    done = command(home, "build", "--from", str(stage.newer), *accepted)  # a JVM stands still under libfaketime
    assert done.returncode == 0, done.stderr
    stop_owner(home)
    jumps = [YEAR, -YEAR, 3600, 0]
    with (
        Part(home, tmp_path / "worker.log", "worker", more=more) as worker,
        Part(home, tmp_path / "refresh.log", *stage.words, "--detach", more=more) as asking,
    ):
        assert asking.wait(120), asking.log()
        run = json.loads(asking.log().splitlines()[0])["run"]
        ledger, until = refresh_ledger(home), time.monotonic() + 240
        while ledger.run(run).is_open:
            jump(jumps[int(time.monotonic()) % len(jumps)])
            assert time.monotonic() < until, worker.log()
            time.sleep(0.5)
        jump(0)
    assert standing(home) == stage.after
    with ledger._engine.begin() as connection:
        assert connection.execute(sa.select(sa.func.max(SHARDS.c.attempts))).scalar() == 1
    assert "Traceback" not in worker.log()


def test_a_server_whose_clock_jumps_past_a_token_and_back(
    home: Home, clock: tuple[dict[str, str], Jump], tmp_path: Path
) -> None:
    """A token is good by the clock as it is: past its end it is refused, before it is let in again; health answers."""
    more, jump = clock
    _, text = create_token(home, "a test", "read", expires="1h")
    with (
        Api(home, tmp_path / "api.log", more) as api,
        httpx.Client(base_url=api.url, timeout=60, headers={"Authorization": f"Bearer {text}"}) as client,
    ):
        for seconds, status in ((0, 200), (7200, 401), (-YEAR, 200), (YEAR, 401), (0, 200)):
            jump(seconds)
            time.sleep(0.3)
            assert client.get("/v1/sources").status_code == status, seconds
            assert client.get("/v1/health").status_code == 200
    assert "Traceback" not in api.log()
