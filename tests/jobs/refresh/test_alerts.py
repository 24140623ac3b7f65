"""A failed refresh is told: by a webhook and a mail, to real servers; what cannot be told is said and hides nothing."""

from __future__ import annotations

import json

import pytest

from aroma.jobs.refresh.alerts import alert
from aroma.kgstore.home import Home
from tests.support.alert_servers import mail_server, webhook

SAID = {"run": "r1", "problem": {"kind": "GateStoppedError", "message": "1 gate stopped: fall:string: 25 % fewer"}}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("WEBHOOK", "MAIL", "SMTP"):
        monkeypatch.delenv(f"AROMA_ALERT_{name}", raising=False)


def test_both_ways(tmp_path, monkeypatch):
    with webhook() as (hook, posted), mail_server() as (smtp, mails):
        monkeypatch.setenv("AROMA_ALERT_WEBHOOK", hook)
        monkeypatch.setenv("AROMA_ALERT_MAIL", "operator@example.org, second@example.org")
        monkeypatch.setenv("AROMA_ALERT_SMTP", smtp)
        assert alert(Home(tmp_path), SAID, print) == []
    (body,) = posted
    assert (body["run"], body["kind"]) == ("r1", "GateStoppedError")
    assert SAID["problem"]["message"] in body["text"]
    (mail,) = mails
    assert "Subject: aroma: refresh r1 failed (GateStoppedError)" in mail
    assert "second@example.org" in mail


def test_what_cannot_be_sent_is_said(tmp_path, monkeypatch):
    said: list[str] = []
    with webhook(status=500) as (hook, posted):
        monkeypatch.setenv("AROMA_ALERT_WEBHOOK", hook)
        monkeypatch.setenv("AROMA_ALERT_MAIL", "operator@example.org")
        monkeypatch.setenv("AROMA_ALERT_SMTP", "http://not-mail")
        unsent = alert(Home(tmp_path), SAID, said.append)
    assert len(posted) == 1
    assert unsent == said
    assert "AROMA_ALERT_WEBHOOK" in said[0]
    assert "500" in said[0]
    assert "AROMA_ALERT_SMTP is not understood" in said[1]


def test_nothing_is_sent_where_nothing_is_set(tmp_path, caplog):
    assert alert(Home(tmp_path), SAID, print) == []
    assert json.dumps(SAID["problem"]["message"], ensure_ascii=False)[1:20] in caplog.text
