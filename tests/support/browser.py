"""A real headless browser (Debian's chromium), spoken to by the Chrome DevTools Protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.sync.client import connect

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Return the browser's program, or None."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab; what it asks elsewhere than ``allowed`` and what its console says is noted.

    Args:
        profile: An empty directory.
        width: Of the window, in pixels.
        height: Of the window, in pixels.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        self.asked: list[str] = []
        self.console: list[str] = []
        self._number = 0
        self._process = subprocess.Popen(
            [
                str(find_browser()),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = self._port(profile / "DevToolsActivePort")
        pages = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=30).json()
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self._open = ExitStack()
        self._socket = self._open.enter_context(connect(address, max_size=64 * 2**20, open_timeout=30))
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def _port(self, path: Path) -> int:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if path.exists() and (said := path.read_text().split()):
                return int(said[0])
            time.sleep(0.05)
        raise AssertionError("the browser did not start")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the result of a command; events that come meanwhile are noted."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            said = self._read()
            if said.get("id") == self._number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    def _read(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._socket.recv(timeout=60))
        about = said.get("params", {})
        match said.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(about["request"]["url"])
            case "Log.entryAdded":
                self.console.append(about["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.console.append(str(about["exceptionDetails"]))
        return said

    def _loaded(self) -> None:
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self._loaded()

    def js(self, text: str) -> Any:
        """Return the value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=text, returnByValue=True)["result"].get("value")

    def press(self, key: str, code: int, *, text: str = "", leads: bool = False) -> None:
        """Press a key; ``leads`` waits for the page that it leads to."""
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **keys)
        if leads:
            self._loaded()
        else:
            self.call("Input.dispatchKeyEvent", type="keyUp", **keys)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)

    def accessible(self) -> list[tuple[str, str]]:
        """Return (role, name) of all that a screen reader can tell."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored") and "role" in node
        ]

    def screenshot(self, path: Path) -> bytes:
        """Write a picture of the whole page as PNG, and return it."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        picture = base64.b64decode(taken)
        path.write_bytes(picture)
        return picture

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        self._process.terminate()
        self._process.wait(timeout=30)
