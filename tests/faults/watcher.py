"""A client that asks all the time: it must see one release in one answer, in the order published, and no error."""

from __future__ import annotations

import itertools
import threading
import time
from types import TracebackType
from typing import Any, Self

import httpx

from tests.faults.stage import PAIRS, Edge, Stage
from tests.support.curating import ANNA

_PAUSE_SECONDS = 0.05
_ENTER_EVERY = 6


class Watcher:
    """Polls health, evidence and predictions, and retracts edges (which wait for a review) meanwhile.

    Args:
        stage: What may be answered.
        url: Where the API is.
    """

    def __init__(self, stage: Stage, url: str) -> None:
        self._stage, self._url = stage, url
        self._edges = iter(stage.edges)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.is_down = threading.Event()
        self.wrong: list[str] = []
        self.answers = self.refused = 0
        self.releases: list[str] = []
        self.asked: dict[str, tuple[Edge, bool]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, release: str, seconds: float = 120) -> None:
        """Wait until the server answers from a release."""
        until = time.monotonic() + seconds
        while not (self.releases and self.releases[-1] == release):
            assert time.monotonic() < until, f"{release} is not served: {self.releases}, {self.wrong}"
            time.sleep(0.05)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120, trust_env=False) as client:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                for look in (self._health, self._evidence, self._predictions, self._retract):
                    self._guarded(look, client, number)
                time.sleep(_PAUSE_SECONDS)

    def _guarded(self, look: Any, client: httpx.Client, number: int) -> None:
        was_down = self.is_down.is_set()
        try:
            look(client, number)
        except httpx.TransportError as error:
            self.refused += 1
            if not (was_down or self.is_down.is_set()):
                self.wrong.append(f"{look.__name__}: {type(error).__name__} {error}")
        except Exception as error:  # noqa: BLE001 - a thread's error would be lost
            self.wrong.append(f"{look.__name__}: {type(error).__name__} {error}")

    def _answer(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code != 200:
            raise ValueError(f"status {answer.status_code}: {answer.text[:500]}")
        self.answers += 1
        said: dict[str, Any] = answer.json()
        return said

    def _health(self, client: httpx.Client, _: int) -> None:
        release = self._answer(client.get("/v1/health"))["release"]
        if not self.releases or self.releases[-1] != release:
            self.releases.append(release)
        if self.releases not in ([self._stage.old], [self._stage.new], [self._stage.old, self._stage.new]):
            raise ValueError(f"releases in another order: {self.releases}")

    def _evidence(self, client: httpx.Client, number: int) -> None:
        pair = PAIRS[number % len(PAIRS)]
        asked = dict(zip(("perturbation", "target", "cell_line"), pair, strict=True))
        answer = client.get("/v1/evidence", params=asked)
        said, tag = self._answer(answer), answer.headers["etag"]
        if tag.strip('"').partition(".")[0] != said["release"]:
            raise ValueError(f"the ETag is {tag}, the release {said['release']}")
        if self._stage.truth.evidence[said["release"]][pair] != said:
            raise ValueError(f"evidence for {pair} is not that of release {said['release']}")

    def _predictions(self, client: httpx.Client, _: int) -> None:
        pairs = [dict(zip(("perturbation", "target", "cell_line"), pair, strict=True)) for pair in PAIRS]
        answer = client.post("/v1/predictions", json={"pairs": pairs})
        said, truth = self._answer(answer), self._stage.truth
        headers = answer.headers["x-release"], answer.headers["x-model"]
        if headers != (said["release"], said["model"]) or truth.release_of[said["model"]] != said["release"]:
            raise ValueError(f"model and release do not agree: {headers}, {said['model']}, {said['release']}")
        if truth.predictions[said["model"]] != said["items"]:
            raise ValueError(f"predictions are not those of model {said['model']}")

    def _retract(self, client: httpx.Client, number: int) -> None:
        if number % _ENTER_EVERY:
            return
        edge, request = next(self._edges), f"watcher-{number}"
        self.asked[request] = (edge, False)
        said = dict(zip(("subject", "relation", "object", "provider"), edge, strict=True))
        body = {**said, "curator": ANNA, "reason": f"Tried while something was killed, {number}"}
        self._answer(client.post("/v1/curation/retract", json=body, headers={"X-Request-Id": request}))
        self.asked[request] = (edge, True)
