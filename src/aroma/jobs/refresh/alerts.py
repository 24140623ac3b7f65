"""Telling somebody that a refresh failed: a webhook, a mail, or both, by settings; and always the log.

``AROMA_ALERT_WEBHOOK`` is an address that gets a POST of JSON. ``AROMA_ALERT_MAIL`` is one or more addresses, comma
between, that get a mail through ``AROMA_ALERT_SMTP`` (``smtp://user:password@host:port``, ``smtps://`` for TLS; else
``smtp://localhost:25``).
"""

from __future__ import annotations

import json
import logging
import os
import smtplib
import socket
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx

from aroma.kgstore.home import Home

WEBHOOK_VARIABLE: Final = "AROMA_ALERT_WEBHOOK"
MAIL_VARIABLE: Final = "AROMA_ALERT_MAIL"
SMTP_VARIABLE: Final = "AROMA_ALERT_SMTP"
_SECONDS: Final = 15.0
_PORTS: Final = {"smtp": 25, "smtps": 465}
_log = logging.getLogger("aroma.refresh")


def alert(home: Home, said: Mapping[str, Any], say: Callable[[str], None]) -> list[str]:
    """Send an alert by every way that is set; return what could not be sent. Nothing is raised: it would hide why.

    Args:
        home: Where the refresh was.
        said: ``run`` and ``problem`` (``kind``, ``message``), JSON values.
        say: Told what could not be sent.
    """
    problem = said["problem"]
    _log.error(
        "refresh failed: %s", problem["message"], extra={"fields": {"run": said["run"], "kind": problem["kind"]}}
    )
    text = f"aroma refresh of {home.path} on {socket.gethostname()} failed: {problem['message']}"
    unsent = []
    for variable, send in ((WEBHOOK_VARIABLE, _post), (MAIL_VARIABLE, _mail)):
        address = os.environ.get(variable, "").strip()
        if not address:
            continue
        try:
            send(address, text, said)
        except (httpx.HTTPError, httpx.InvalidURL, smtplib.SMTPException, OSError, ValueError) as error:
            unsent.append(f"the alert could not be sent ({variable}): {error}")
            say(unsent[-1])
    return unsent


def _post(address: str, text: str, said: Mapping[str, Any]) -> None:
    body = {"text": text, "run": said["run"], **said["problem"]}  # "text" is what chat programs show
    httpx.post(address, json=body, timeout=_SECONDS).raise_for_status()


def _mail(addresses: str, text: str, said: Mapping[str, Any]) -> None:
    wanted = [one.strip() for one in addresses.split(",") if one.strip()]
    message = EmailMessage()
    message["Subject"] = f"aroma: refresh {said['run']} failed ({said['problem']['kind']})"
    message["From"] = wanted[0]
    message["To"] = ", ".join(wanted)
    message.set_content(f"{text}\n\n{json.dumps(said, indent=1, ensure_ascii=False, default=str)}\n")
    server = urlsplit(os.environ.get(SMTP_VARIABLE, "").strip() or "smtp://localhost:25")
    if server.scheme not in _PORTS or not server.hostname:
        raise ValueError(f"{SMTP_VARIABLE} is not understood; give smtp://host:25 or smtps://user:password@host:465")
    make = smtplib.SMTP_SSL if server.scheme == "smtps" else smtplib.SMTP
    with make(server.hostname, server.port or _PORTS[server.scheme], timeout=_SECONDS) as connection:
        if server.username:
            if server.scheme == "smtp":
                connection.starttls()
            connection.login(unquote(server.username), unquote(server.password or ""))
        connection.send_message(message)
