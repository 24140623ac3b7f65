"""A disk that is full: a sentence, nothing half-visible, and after room is made all goes on where it was.

The disk is a small tmpfs, which only root may mount: elsewhere these tests are skipped. ``AROMA_KILLS`` says at how
many sizes of the room that is left a refresh is tried.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from aroma.errors import CurationLogError
from aroma.kgstore.curation_desk import Asked, enter_one
from aroma.kgstore.curation_log import read_log
from aroma.kgstore.engines.embedded_owner import stop_owner
from aroma.kgstore.home import GraphTarget, Home
from aroma.kgstore.publications import require_published
from aroma.kgstore.tokens import create_token, read_tokens
from aroma.kgstore.write_log import Write, add_write, read_writes
from tests.faults.stage import Api, Stage, check_tables, command, standing
from tests.support.curating import ANNA

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(3600)]
KILLS = int(os.environ.get("AROMA_KILLS", "3"))
_PAGE = 4096
_MOST = 400
Fill = Callable[[int], None]
"""Leaves so many bytes free on the small disk; a negative number makes all the room again."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Fill]]:
    """A disk of 192 MiB, and how to fill it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=192m", "aroma-faults", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    ballast = disk / "ballast"

    def fill(free: int) -> None:
        ballast.unlink(missing_ok=True)
        if free < 0:
            return
        there = os.statvfs(disk)
        with ballast.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, there.f_bavail * there.f_frsize - free)

    try:
        yield disk, fill
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def home(stage: Stage, small_disk: tuple[Path, Fill]) -> Iterator[Home]:
    """A copy of the stage's home on the small disk."""
    made = Home(small_disk[0] / "home")
    stage.copy_to(made)
    yield made
    stop_owner(made)


def sizes(number: int) -> list[int]:
    """Return sizes of the room that is left, from nothing to nearly what a refresh needs, bytes."""
    most = 40 * 2**20
    return [0] + [int(_PAGE * (most / _PAGE) ** (place / (number - 1))) for place in range(1, number - 1)] + [most]


def refreshes(stage: Stage, home: Home, fill: Fill, number: int) -> int:
    """Refresh at each size, then with room; return how many refreshes failed for want of room."""
    failed, before = 0, standing(home)["publications"]
    for free in sizes(number):
        fill(free)
        done = command(home, *stage.words)
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        if done.returncode == 0:
            break
        failed += 1
        assert "space" in said or "full" in said, said
        assert require_published(home).release in {stage.old, stage.new}
        assert standing(home)["publications"][: len(before)] == before
        stop_owner(home)
    fill(-1)
    done = command(home, *stage.words)
    assert done.returncode == 0, done.stderr
    assert standing(home) == stage.after
    check_tables(home, GraphTarget.locate("embedded:"))
    return failed


def test_a_refresh_without_room_goes_on_when_there_is_some(
    stage: Stage, home: Home, small_disk: tuple[Path, Fill]
) -> None:
    assert refreshes(stage, home, small_disk[1], 3) >= 1


@pytest.mark.full
def test_a_refresh_at_many_sizes_of_the_room_left(stage: Stage, home: Home, small_disk: tuple[Path, Fill]) -> None:
    assert refreshes(stage, home, small_disk[1], max(KILLS, 4)) >= 2


def until_full(do: Callable[[int], None], wanted: type[Exception]) -> tuple[int, Exception]:
    """Do something again and again until there is no room; return how often it went well, and the error."""
    for number in range(_MOST):
        try:
            do(number)
        except wanted as error:
            return number, error
    raise AssertionError("the disk is not full")


def test_curation_tokens_and_the_log_of_writes(stage: Stage, home: Home, small_disk: tuple[Path, Fill]) -> None:
    """What was said to be done is there, once; what was not is not."""

    def enter(number: int) -> None:
        subject, relation, object_, provider = stage.edges[number]
        enter_one(home, Asked("retract", ANNA, "Tried", subject, relation, object_, provider=provider))

    def token(number: int) -> None:
        create_token(home, f"token {number}", "read")

    def write(number: int) -> None:
        add_write(home, Write("a test", "", "POST /x", "x" * 300, "200", f"request {number}"))

    enter(300), token(300), write(300)
    small_disk[1](0)
    entered, problem = until_full(enter, CurationLogError)
    assert "No space left" in str(problem)
    made, no_room = until_full(token, OSError)
    written, _ = until_full(write, OSError)
    assert isinstance(no_room, OSError)
    assert no_room.errno == errno.ENOSPC
    assert len(read_log(home)) == 1 + entered
    assert len(read_tokens(home)) == 1 + made
    assert [one.request for one in read_writes(home)][1:] == [f"request {number}" for number in range(written)]
    assert not list(home.path.glob(".tokens.json.*"))
    done = command(home, "tokens", "create", "one more")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "No space left on device" in done.stderr
    small_disk[1](-1)
    enter(301), token(301), write(301)
    assert len(read_log(home)) == 2 + entered
    assert len(read_tokens(home)) == 2 + made
    assert [one.request for one in read_writes(home)][-1] == "request 301"


def test_a_server_without_room_answers_and_says_so(stage: Stage, home: Home, small_disk: tuple[Path, Fill]) -> None:
    pair = {"perturbation": "RPL3", "target": "TP53", "cell_line": "K562"}
    with Api(home, small_disk[0].parent / "api.log") as api, httpx.Client(base_url=api.url, timeout=60) as client:
        small_disk[1](0)
        statuses = []
        for number, (subject, relation, object_, provider) in enumerate(stage.edges[:10]):
            said = {"subject": subject, "relation": relation, "object": object_, "provider": provider}
            answer = client.post("/v1/curation/retract", json={**said, "curator": ANNA, "reason": f"Tried {number}"})
            statuses.append(answer.status_code)
            if answer.status_code != 200:
                assert "nothing was entered" in answer.json()["detail"]
        assert set(statuses) <= {200, 500}
        assert 500 in statuses
        assert len(read_log(home)) == statuses.count(200)
        assert client.get("/v1/evidence", params=pair).status_code == 200
        small_disk[1](-1)
        said = dict(zip(("subject", "relation", "object", "provider"), stage.edges[41], strict=True))
        answer = client.post("/v1/curation/retract", json={**said, "curator": ANNA, "reason": "Tried again"})
        assert answer.status_code == 200
    with suppress(FileNotFoundError):
        assert "Traceback" not in (small_disk[0].parent / "api.log").read_text()
