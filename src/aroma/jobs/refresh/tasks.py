"""Tasks of a refresh in the ledger: named by their inputs, done once, taken up again where they were lost.

A task is a run of one shard (``kind`` ``refresh-step``). Whoever has the lease does it: the process that refreshes, or
any worker that looks into the ledger. What it raised stands in its result, as the ledger keeps messages alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from aroma import errors
from aroma.errors import AromaError, GateStoppedError, InputFileError, LedgerError, UsageError
from aroma.jobs.refresh.work import STEPS, has_output
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, Run, Shard, ShardPlan, State
from aroma.kgstore.work_loop import STOP, Keep, StoppedError, work

KIND: Final = "refresh-step"
PROBLEM: Final = "problem"
_WAIT_SECONDS: Final = 0.2
Say = Callable[[str], None]


def task_id(step: str, inputs: Mapping[str, Any]) -> str:
    """Return the name of a task: a hash of the step and what goes in."""
    said = json.dumps([step, inputs], sort_keys=True)
    return f"t{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def run_task(home: Home, ledger: Ledger, step: str, inputs: Mapping[str, Any], *, anew: bool = False) -> dict[str, Any]:
    """Return what a task gave: done before and still there, or done now, here or by a worker.

    Args:
        home: Where.
        ledger: The ledger.
        step: A key of ``STEPS``.
        inputs: JSON values; the same ones are the same task.
        anew: Do it again even where it was done: what it looks at can have changed.

    Returns:
        Its result, and ``_reused``: whether it was done before.

    Raises:
        AromaError: What the task met, of its own kind.
        LedgerError: The ledger cannot be read or written.
    """
    name = task_id(step, inputs)
    before = _planned(ledger, name)
    if before is not None and before.state is State.DONE:
        result = dict(ledger.results(name)[0])
        if not anew and PROBLEM not in result and has_output(home, step, result):
            return result | {"_reused": True}
    if before is not None and not before.is_open:
        ledger.forget(name)
    ledger.plan(name, KIND, "cpu", {"step": step, "inputs": dict(inputs)}, [ShardPlan({"step": step})])
    while (run := ledger.run(name)).is_open:
        if STOP.is_set():
            raise StoppedError(f"step {step}: this process ends")
        if not work_on_task(home, ledger, name):
            time.sleep(_WAIT_SECONDS)  # another worker has it
    if run.state is not State.DONE:
        raise AromaError(f"step {step}: {run.message or run.state}")
    result = dict(ledger.results(name)[0])
    if PROBLEM in result:
        ledger.forget(name)
        raise_problem(result[PROBLEM])
    return result | {"_reused": False}


def work_on_task(home: Home, ledger: Ledger, run: str, *, device: str = "cpu", worker: str | None = None) -> int:
    """Do a task if it can be had now; return how many shards were done (``aroma.jobs.kinds.WorkOn``)."""
    del device
    facts = ledger.run(run).facts

    def do(_shard: Shard, keep: Keep) -> Mapping[str, Any]:
        return told(lambda: STEPS[str(facts["step"])](home, facts["inputs"], keep))

    done = work(ledger, run, do, worker=worker)
    ledger.close(run)
    return done


def told(do: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what ``do`` gives, or its error as a result; what only ends this process is raised."""
    from aroma.kgstore.work_loop import LeaseLostError

    try:
        with in_words():
            return do()
    except (LedgerError, StoppedError, LeaseLostError):
        raise
    except AromaError as error:
        said = {"kind": type(error).__name__, "message": str(error), **error.details()}
        if isinstance(error, InputFileError):
            said |= {"file": error.file, "problem": error.problem, "line": error.line, "expected": error.expected}
        return {PROBLEM: said}


@contextmanager
def in_words() -> Iterator[None]:
    """Say what the system says of a full or broken disk as one of our errors.

    Raises:
        AromaError: The body met an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise AromaError(
            f"{place}{error.strerror or error}; make room on the disk, or mend it, and ask again"
        ) from error


def raise_problem(said: Mapping[str, Any]) -> None:
    """Raise the error that a task met.

    Raises:
        AromaError: Always, of the kind that it was.
    """
    kind = getattr(errors, str(said["kind"]), AromaError)
    if kind is GateStoppedError:
        raise GateStoppedError(str(said["message"]), gates=tuple(said["gates"]))
    if kind is InputFileError:
        raise InputFileError(said["problem"], file=said["file"], line=said["line"], expected=said["expected"])
    plain = isinstance(kind, type) and issubclass(kind, AromaError) and kind is not errors.ServerAnswerError
    raise (kind if plain else AromaError)(str(said["message"]))


def _planned(ledger: Ledger, name: str) -> Run | None:
    try:
        return ledger.run(name)
    except UsageError:
        return None
