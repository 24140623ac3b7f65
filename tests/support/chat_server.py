"""A scripted server with the chat call of OpenAI-compatible endpoints: real HTTP, answers by rule, no model.

A script is a function of the question and of how many were asked before; it says what is sent back: an answer, a
refusal, half a JSON, nothing for a while. As a program it answers by a rule until it is ended::

    python -m tests.support.chat_server --port 8900
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from aroma.model.traces.answers import ANSWERS

_RESULT = re.compile(r"Its result: \S+ was ([a-z ]+)\.")
_QUESTION = re.compile(r"In (\S+) cells, what happens to the expression of (\S+) when (\S+) is knocked down")


@dataclass(frozen=True)
class Reply:
    """What is sent back, after ``delay`` seconds; ``cut`` sends only so many bytes of the body."""

    status: int = 200
    body: Mapping[str, Any] | bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None


def answer(text: str, *, finish: str = "stop", **message: str) -> Reply:
    """Return a good answer with this text."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": 100, "completion_tokens": len(text) // 4}
    return Reply(body={"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})


def by_rule(question: dict[str, Any], _: int) -> Reply:
    """Answer as told where the result is told, else by a rule on the names; the reasoning differs by row and seed."""
    text = question["messages"][-1]["content"]
    told, asked = _RESULT.search(text), _QUESTION.search(text)
    line, target, gene = asked.groups() if asked else ("this line", "the target", "the gene")
    chance = zlib.crc32(f"{line} {target} {gene} {question.get('seed')}".encode())
    said = told.group(1) if told else ANSWERS[chance % 3]
    lines = re.findall(r"^(?:Path \d+: .*|Perturbation information: .*|Target information: .*)$", text, re.MULTILINE)
    facts = " ".join(one.split(": ", 1)[1].rstrip(".") + "." for one in lines)
    reasoning = (
        f"The question concerns {gene} and {target} in {line} cells. {facts} These facts are weighed together "
        f"(draw {chance % 997}). The evidence is thin, and other routes may buffer a change. "
        f"Therefore {target} is expected to be {said} in {line} cells."
    )
    return answer(f"<think>{reasoning}</think><answer>{said}</answer>")


Script = Callable[[dict[str, Any], int], Reply]


class ChatServer:
    """The server on a free port (or a given one), ended with the block.

    Attributes:
        questions: Bodies of the questions, in the order of arrival.
        keys: ``Authorization`` headers as sent.
    """

    def __init__(self, script: Script = by_rule, port: int = 0) -> None:
        self.script, self.questions, self.keys = script, [], []
        self.most_at_once = self._at_once = 0
        self._guard = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._guard:
                    number = len(server.questions)
                    server.questions.append(body)
                    server.keys.append(self.headers.get("Authorization"))
                    server._at_once += 1
                    server.most_at_once = max(server.most_at_once, server._at_once)
                try:
                    self._send(server.script(body, number))
                finally:
                    with server._guard:
                        server._at_once -= 1

            def _send(self, reply: Reply) -> None:
                time.sleep(reply.delay)
                body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                sent = body if reply.cut is None else body[: reply.cut]
                try:
                    self.send_response(reply.status)
                    for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(sent)))
                    self.end_headers()
                    self.wfile.write(sent)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def main() -> None:
    """Answer by rule until the process is ended."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=8900)
    with ChatServer(port=arguments.parse_args().port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
