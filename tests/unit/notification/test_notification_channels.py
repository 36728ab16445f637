# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Webhooks and mail, against servers that take them, refuse them, or never answer."""

from __future__ import annotations

import base64
import email
import email.policy

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from takers import Post
from telling import FAILED


@pytest.fixture
def post(tmp_path):
    """A mail server that speaks STARTTLS."""
    server = Post(tmp_path)
    yield server
    server.stop()


def letter(estate, post, **changes):
    return {
        "name": "audit",
        "kind": "mail",
        "host": "127.0.0.1",
        "port": post.port,
        "ca_file": str(post.certificate),
        "user": "db",
        "password_file": estate.secret("password", "s3cret"),
        "sender": "db@example.com",
        "to": ["audit@example.com", "dba@example.com"],
        **changes,
    }


def test_a_webhook_carries_what_a_program_needs_and_a_token_in_its_header(estate, hook, channel):
    estate.drill(checks=FAILED)
    estate.tell({**channel, "token_file": estate.secret("token", "t0ken")})
    [(path, headers, body)] = hook.taken
    assert (
        path == "/hook" and headers["Authorization"] == "Bearer t0ken" and headers["Content-Type"] == "application/json"
    )
    assert body["format"] == "urn:boringdb.ops:notification:v1" and body["headline"] == "1 of 1 cluster needs attention"
    [event] = body["events"]
    assert event["rto_seconds"] == 187.4 and event["rpo_seconds"] == 41.2 and len(event["record"]) == 64
    assert event["last_verified_drill"] is None and event["last_drill"].endswith("Z")


def test_slack_gets_a_text_with_its_signs_escaped(estate, hook):
    estate.drill(checks=FAILED)
    estate.tell(
        {"name": "team", "kind": "slack", "url_file": estate.secret("url", f"http://127.0.0.1:{hook.port}/T/S")}
    )
    [(path, _headers, body)] = hook.taken
    assert path == "/T/S" and list(body) == ["text"]
    assert "ALARM orders: drill failed" in body["text"] and "3 rows &lt;fewer&gt; &amp; none" in body["text"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (500, "answered 500"),
        (404, "answered 404"),
        (307, "answered 307"),
        ("hang", "no answer in 0.5 s|timed out"),
        ("drip", "no answer in 0.5 s"),
    ],
)
def test_a_webhook_that_does_not_take_it_is_an_error_without_its_address(estate, hook, answer, says):
    estate.drill(checks=FAILED)
    hook.answer = answer
    team = {
        "name": "team",
        "kind": "slack",
        "timeout": 0.5,
        "url_file": estate.secret("url", f"http://127.0.0.1:{hook.port}/services/SECRET"),
    }
    with pytest.raises(OpsError, match=f"not everybody was told: team: 127.0.0.1:? ({says})") as caught:
        estate.tell(team)
    assert "SECRET" not in str(caught.value) and len(hook.taken) == 1
    hook.answer = 204
    assert list(estate.tell(team).facts["told"]) == ["team"]


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
def test_a_mail_goes_over_tls_with_a_password(estate, tmp_path, implicit):
    post = Post(tmp_path, implicit=implicit)
    estate.drill(checks=[{**FAILED[0], "message": "für\ud800 3"}])
    estate.tell(letter(estate, post, tls="implicit" if implicit else "starttls"))
    [mail] = [email.message_from_string(text, policy=email.policy.default) for text in post.mails]
    assert mail["Subject"] == "ALARM: restore evidence of orders" and mail["To"] == "audit@example.com, dba@example.com"
    assert "ALARM orders: drill failed" in mail.get_content() and mail["Auto-Submitted"] == "auto-generated"
    assert post.logins == [("db:s3cret", True)]
    post.stop()


def test_a_password_never_leaves_without_tls_or_to_a_stranger(estate, post):
    estate.drill(checks=FAILED)
    with pytest.raises(OpsError, match=r"audit: 127.0.0.1:.*certificate verify failed"):
        estate.tell(letter(estate, post, ca_file=None))
    with pytest.raises(OpsError, match="in plain text"):
        estate.tell(letter(estate, post, tls="none"))
    assert not post.logins and not post.mails


def test_a_mail_server_that_refuses_is_an_error_without_the_password(estate, post):
    estate.drill(checks=FAILED)
    with pytest.raises(OpsError, match=r"audit: 127.0.0.1:\d+: .*535") as caught:
        estate.tell(letter(estate, post, password_file=estate.secret("wrong", "wr0ng")))
    assert "wr0ng" not in str(caught.value) and base64.b64encode(b"wr0ng").decode() not in str(caught.value)
    post.refused = ("dba@",)
    with pytest.raises(OpsError, match=r"audit: 127.0.0.1:\d+ refused dba@example.com"):
        estate.tell(letter(estate, post))
    post.refused = ()
    assert list(estate.tell(letter(estate, post)).facts["told"]) == ["audit"]
