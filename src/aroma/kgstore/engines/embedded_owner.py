"""The owner of a home's embedded databases: one process, ``python -m aroma.kgstore.engines.embedded_owner HOME``.

It holds ``locks/embedded-owner.lock`` as long as it lives (so a dead owner is noticed at once), runs an ArcadeDB server
on loopback ports of its choice with passwords of its own, and says where in ``locks/embedded-owner.json`` (mode 0600).
Databases are opened by name when asked for. It ends when no client was connected for a while, when that file goes, or
when its home does.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import filelock
import httpx

from aroma.errors import StoreUnavailableError, UsageError
from aroma.kgstore.graph import Address
from aroma.kgstore.home import Home
from aroma.kgstore.publications import write_durably

IDLE_VARIABLE: Final = "AROMA_EMBEDDED_IDLE"
IDLE_SECONDS: Final = 600.0
READER: Final = "reader"
WRITER: Final = "root"
_HEAP: Final = os.environ.get("AROMA_EMBEDDED_HEAP", "1200m")
_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Owner:
    """Where the running owner answers.

    Attributes:
        pid: Its process.
        port: Of Bolt, on the loopback interface.
        control_port: Of HTTP, for closing and dropping databases.
        reader: Password of the user that can only read.
        writer: Password of the user that may do all.
    """

    pid: int
    port: int
    control_port: int
    reader: str
    writer: str

    def address(self, database: str, *, writing: bool = False) -> Address:
        """Bolt address of one database."""
        user, password = (WRITER, self.writer) if writing else (READER, self.reader)
        return Address(f"bolt://{_HOST}:{self.port}", database, user, password)

    def drop(self, database: str) -> None:
        """Close a database and delete its files; nothing happens when it is not there.

        Raises:
            StoreUnavailableError: The owner refuses or does not answer.
        """
        try:
            answer = httpx.post(
                f"http://{_HOST}:{self.control_port}/api/v1/server",
                json={"command": f"drop database {database}"},
                auth=(WRITER, self.writer),
                timeout=30,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise StoreUnavailableError(f"the embedded engine (process {self.pid}) does not answer: {error}") from error
        if answer.is_error and "not exist" not in answer.text:
            raise StoreUnavailableError(f"the embedded engine could not drop {database}: {answer.text[:300]}")


def attach(home: Home) -> Owner:
    """Return the owner of this home's embedded databases; it is started when none runs.

    Raises:
        StoreUnavailableError: It does not start; the message names its log.
    """
    home.locks.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + _START_SECONDS
    child: subprocess.Popen[bytes] | None = None
    while time.monotonic() < until:
        owner = running_owner(home)
        if owner is not None:
            return owner
        if not _is_held(home) and (child is None or child.poll() is not None):
            if child is not None and child.returncode:
                break
            child = _spawn(home)
        time.sleep(0.05)
    raise StoreUnavailableError(f"the embedded engine did not start; {_log(home)} ends with: {_tail(_log(home))}")


def running_owner(home: Home) -> Owner | None:
    """Return the owner if one runs and answers, and tell it that it is needed."""
    try:
        owner = Owner(**json.loads(_card(home).read_text()))
        if not _is_held(home):
            return None  # left behind by an owner that was killed
        with socket.create_connection((_HOST, owner.port), timeout=5):
            os.utime(_card(home))
    except (OSError, ValueError, TypeError):
        return None
    return owner


def stop_owner(home: Home) -> None:
    """End the owner, if one runs, and wait for it."""
    try:
        pid = int(json.loads(_card(home).read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return
    _card(home).unlink(missing_ok=True)
    until = time.monotonic() + _STOP_SECONDS
    while home.locks.exists() and _is_held(home):
        if time.monotonic() > until:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
            return
        time.sleep(0.05)


def _card(home: Home) -> Path:
    return home.locks / "embedded-owner.json"


def _lock(home: Home) -> filelock.FileLock:
    return filelock.FileLock(home.locks / "embedded-owner.lock", is_singleton=False)


def _log(home: Home) -> Path:
    return home.path / "logs" / "embedded-owner.log"


def _is_held(home: Home) -> bool:
    lock = _lock(home)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def _tail(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "(nothing)"
    return " / ".join(lines[-3:])[:600]


def _spawn(home: Home) -> subprocess.Popen[bytes]:
    _log(home).parent.mkdir(parents=True, exist_ok=True)
    with _log(home).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __spec__.name if __spec__ else __name__, str(home.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home.path,
            start_new_session=True,
        )


def idle_seconds() -> float:
    """Return after how many seconds without a client the owner ends.

    Raises:
        UsageError: The setting is no number.
    """
    given = os.environ.get(IDLE_VARIABLE, "")
    try:
        return float(given) if given else IDLE_SECONDS
    except ValueError as error:
        raise UsageError(f"{IDLE_VARIABLE}={given!r} is no number of seconds") from error


def main(path: Path) -> int:
    """Own the embedded databases of the home at ``path`` until nobody needs them; returns the exit code."""
    home = Home(path)
    idle = idle_seconds()
    home.locks.mkdir(parents=True, exist_ok=True)
    lock = _lock(home)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return 0  # another owner was quicker
    _card(home).unlink(missing_ok=True)
    server = _Server(home)
    server.start()
    while True:
        _serve(home, server, idle)
        _card(home).unlink(missing_ok=True)  # from here on nobody new attaches; who just did is waited for
        time.sleep(_LOOK_SECONDS)
        if not (home.path.exists() and server.connections()):
            break
        server.publish()
    server.stop()
    return 0


def _serve(home: Home, server: _Server, idle: float) -> None:
    """Return when nobody was connected for ``idle`` seconds, or the card or the home is gone."""
    used = time.time()
    while True:
        time.sleep(_LOOK_SECONDS)
        try:
            used = max(used, _card(home).stat().st_mtime)
        except OSError:
            return
        if server.connections():
            used = time.time()
        elif time.time() - used > idle:
            return


class _Server:
    """The ArcadeDB server inside this process. The Python object must live as long as it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._server: Any = None
        self._listener: Any = None
        self._owner: Owner | None = None

    def start(self) -> None:
        """Start, and publish where."""
        from arcadedb_embedded.server import ArcadeDBServer

        root = self._home.path / "embedded" / ".server"
        logs = self._home.path / "logs"
        for directory in (root / "config", logs):
            directory.mkdir(parents=True, exist_ok=True)
        os.chdir(logs)  # the engine keeps a directory "log" in the working directory
        for stale in (root / "config").iterdir():
            stale.unlink()
        _write_groups(root / "config" / "server-groups.json")
        owner = Owner(os.getpid(), _free_port(), _free_port(), secrets.token_urlsafe(24), secrets.token_urlsafe(24))
        settings = {
            "host": _HOST,
            "http_port": owner.control_port,
            "server_databaseDirectory": str(self._home.path / "embedded"),
            "server_databaseLoadAtStartup": False,
            "server_logsDirectory": str(logs),
            "server_plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
            "bolt_port": owner.port,
            "txWalFlush": 2,
            "opencypher_loadCsv_allowFileUrls": False,
            "opencypher_loadCsv_allowRemoteUrls": False,
        }
        self._server = ArcadeDBServer(str(root), owner.writer, settings, {"heap_size": _HEAP})
        self._server.start()
        self._add_reader(owner.reader)
        self._listener = self._find_listener()
        self._owner = owner
        self.publish()

    def publish(self) -> None:
        """Say where this server answers, to this user only."""
        os.umask(0o077)
        write_durably(_card(self._home), json.dumps(asdict(self._owner)))  # type: ignore[arg-type]

    def connections(self) -> int:
        """Return how many Bolt clients are connected."""
        return int(self._listener.size())

    def stop(self) -> None:
        """Close the databases and stop."""
        self._server.stop()

    def _add_reader(self, password: str) -> None:
        import jpype

        security = self._server._java_server.getSecurity()  # noqa: SLF001 - the wrapper has no users
        user = {"name": READER, "password": str(security.encodePassword(password)), "databases": {"*": [READER]}}
        security.createUser(jpype.JClass("com.arcadedb.serializer.json.JSONObject")(json.dumps(user)))

    def _find_listener(self) -> Any:
        """Return the set of the Bolt listener's open connections; the engine shows it nowhere else."""
        for plugin in self._server._java_server.getPlugins():  # noqa: SLF001
            if "Bolt" in str(plugin.getClass().getName()):
                return _private(_private(plugin, "listener"), "activeConnections")
        raise StoreUnavailableError("the embedded engine started without its Bolt plug-in; reinstall arcadedb-embedded")


def _private(thing: Any, name: str) -> Any:
    field = thing.getClass().getDeclaredField(name)
    field.setAccessible(True)
    return field.get(thing)


def _write_groups(path: Path) -> None:
    everything = ["createRecord", "readRecord", "updateRecord", "deleteRecord"]
    changes = ["updateSecurity", "updateSchema", "updateDatabaseSettings"]

    def group(access: list[str], records: list[str]) -> dict[str, object]:
        return {"resultSetLimit": -1, "readTimeout": -1, "access": access, "types": {"*": {"access": records}}}

    groups = {"admin": group(changes, everything), READER: group([], ["readRecord"]), "*": group([], [])}
    path.write_text(json.dumps({"version": 2, "databases": {"*": {"groups": groups}}}))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def remove_files(directory: Path) -> None:
    """Delete a database that no server has open."""
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)  # Java threads of a stopped server would keep the process
