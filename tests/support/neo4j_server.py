"""A real Neo4j 5.26 community server from Maven artefacts, for tests, benchmarks and by hand.

By hand::

    python tests/support/neo4j_server.py start DIR [--port 7687] [--password P]   prints the Bolt address
    python tests/support/neo4j_server.py stop DIR

Needs ``java`` (17 or 21) and ``mvn``. The jars (116 MB) are fetched once into the user's cache directory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import filelock

VERSION = "5.26.12"
_POM = Path(__file__).parent / "neo4j" / "pom.xml"
_START_SECONDS = 120
_STOP_SECONDS = 30
_OPENED = ("java.nio", "java.io", "sun.nio.ch", "java.util.concurrent")
# Ends the server when the starter's end of the pipe closes, so that a killed test run leaves no server behind.
_TIED = '"$@" & echo $! > "$PID_FILE"; cat > /dev/null; kill $! 2> /dev/null; wait $!'


class ServerError(RuntimeError):
    """The server cannot be fetched or started; the message says what to install or shows the log."""


def missing_tools() -> str | None:
    """Return what to install before a server can run here, or None."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if not missing:
        return None
    return f"{' and '.join(missing)} not found: install Java 17 and Maven (Debian: openjdk-17-jre-headless maven)"


def jar_directory() -> Path:
    """Return the directory of the server's jars; fetched when not there. Two processes do not collide."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jars = Path(os.environ.get("NEO4J_JARS") or cache / f"neo4j-community-{VERSION}")
    complete = jars / ".complete"
    if complete.exists():
        return jars
    if problem := missing_tools():
        raise ServerError(problem)
    jars.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{jars}.lock"):
        if not complete.exists():
            command = ["mvn", "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies"]
            command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                raise ServerError(f"Maven could not fetch Neo4j {VERSION}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            complete.touch()
    return jars


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Neo4jServer:
    """One server with ``home`` as its data directory.

    Attributes:
        home: Data, logs and configuration; made when missing, kept after ``stop``.
        password: Of user ``neo4j``; None switches authentication off.
        port: Bolt port; 0 takes a free one.
        heap: Java heap limit.
        page_cache: Of the store.
        tied: End the server when this process ends, however it ends.
    """

    home: Path
    password: str | None = None
    port: int = 0
    heap: str = "2g"
    page_cache: str = "512m"
    tied: bool = True
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        """Bolt address."""
        return f"bolt://127.0.0.1:{self.port}"

    @property
    def pid_file(self) -> Path:
        """Where the process id of the server stands."""
        return self.home / "neo4j.pid"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return int(self.pid_file.read_text())

    def start(self) -> Neo4jServer:
        """Start and wait until Bolt answers.

        Raises:
            ServerError: Java or Maven is missing, or the server ended or took longer than two minutes.
        """
        if problem := missing_tools():
            raise ServerError(problem)
        jars = jar_directory()
        self.port = self.port or free_port()
        self._configure()
        self._spawn(["java", "-Xms128m", f"-Xmx{self.heap}", "-XX:+UseG1GC", *_opens(), "-cp", f"{jars}/*"])
        self._wait()
        if self.password is not None:
            self._set_password(self.password)
        return self

    def _configure(self) -> None:
        for name in ("conf", "data", "logs", "plugins", "import", "run"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        for stale in (self.home / "logs" / "neo4j.log", self.pid_file):
            stale.unlink(missing_ok=True)
        (self.home / "conf" / "neo4j.conf").write_text(
            "server.default_listen_address=127.0.0.1\n"
            f"server.bolt.listen_address=127.0.0.1:{self.port}\n"
            "server.http.enabled=false\n"
            f"server.memory.pagecache.size={self.page_cache}\n"
            "dbms.usage_report.enabled=false\n"
            f"dbms.security.auth_enabled={'true' if self.password is not None else 'false'}\n"
        )

    def _spawn(self, java: list[str]) -> None:
        command = [*java, "org.neo4j.server.CommunityEntryPoint"]
        command += [f"--home-dir={self.home}", f"--config-dir={self.home / 'conf'}"]
        environment = {**os.environ, "PID_FILE": str(self.pid_file)}
        with (self.home / "logs" / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                ["sh", "-c", _TIED, "sh", *command] if self.tied else command,
                stdin=subprocess.PIPE if self.tied else subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        if not self.tied:
            self.pid_file.write_text(str(self._process.pid))

    def _wait(self) -> None:
        log = self.home / "logs" / "neo4j.log"
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if log.exists() and "Started." in log.read_text(errors="replace"):
                return
            if self.pid_file.exists() and not _alive(self.pid):
                break
            time.sleep(0.1)
        console = (self.home / "logs" / "console.log").read_text(errors="replace")
        self.stop()
        raise ServerError(f"Neo4j did not start within {_START_SECONDS} s; {log.parent} says:\n{console[-3000:]}")

    def _set_password(self, password: str) -> None:
        import neo4j

        try:
            with neo4j.GraphDatabase.driver(self.uri, auth=("neo4j", "neo4j")) as driver:
                statement = "ALTER CURRENT USER SET PASSWORD FROM 'neo4j' TO $password"
                driver.execute_query(statement, password=password, database_="system")
        except neo4j.exceptions.AuthError:
            return  # the data directory is an older one, its password was set then

    def stop(self) -> None:
        """End the server and wait for it; nothing happens when it is not running."""
        if self.pid_file.exists():
            stop(self.home)
        if self._process is not None:
            if self._process.stdin:
                self._process.stdin.close()
            self._process.wait(timeout=_STOP_SECONDS)
            self._process = None

    def __enter__(self) -> Neo4jServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def stop(home: Path) -> None:
    """End the server of a data directory and wait for it.

    Raises:
        ServerError: It did not end in time.
    """
    pid_file = home / "neo4j.pid"
    pid = int(pid_file.read_text())
    if _alive(pid):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + _STOP_SECONDS
    while _alive(pid):
        if time.monotonic() > until:
            raise ServerError(f"Neo4j (process {pid}) did not stop within {_STOP_SECONDS} s")
        time.sleep(0.05)
    pid_file.unlink(missing_ok=True)


def _opens() -> list[str]:
    return [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]


def _alive(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            return False
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Start or stop a server by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("home", type=Path)
    parser.add_argument("--port", type=int, default=7687)
    parser.add_argument("--password")
    given = parser.parse_args()
    try:
        if given.action == "stop":
            stop(given.home.resolve())
        else:
            server = Neo4jServer(given.home.resolve(), given.password, given.port, tied=False).start()
            sys.stdout.write(f"{server.uri}\n")
    except (ServerError, FileNotFoundError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
