# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pgBackRest says, in one line: its messages as they were printed by 2.45."""

from __future__ import annotations

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest_health import health
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest_program import Pgbackrest

HTTP = """[ProtocolError] HTTP request failed with 404 (NOT FOUND):
*** Path/Query ***:
GET /nobucket/?delimiter=%2F&list-type=2&prefix=orders%2Fbackup%2F
*** Request Headers ***:
authorization: <redacted>
*** Response Content ***:
<?xml version="1.0" encoding="utf-8"?>
<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>"""
UNSIGNED = (
    "ERROR: [095]: unable to verify certificate presented by 'store:9443': [20] unable to get local issuer certificate"
)
MISNAMED = """ERROR: [095]: unable to load info file '/orders/archive/demo/archive.info' or '/orders/archive.info.copy':
       CryptoError: unable to find hostname '10.0.0.1' in certificate common name or subject alternative names
       HINT: is or was the repo encrypted?"""


@pytest.mark.parametrize(("text", "says"), [
    (HTTP, "the object store answers 404 (NOT FOUND): NoSuchBucket: The specified bucket does not exist"),
    ("HTTP request failed with 503 (Slow Down)", "the object store answers 503 (Slow Down)"),
    (UNSIGNED, "the certificate of store:9443 is refused: unable to get local issuer certificate; name the CA"),
    (MISNAMED, "the certificate of 10.0.0.1 is refused: unable to find hostname '10.0.0.1' in certificate"),
], ids=["no bucket", "bare", "another CA", "another name"])  # fmt: skip
def test_what_a_store_says_becomes_one_line(text: str, says: str) -> None:
    told = Pgbackrest("demo", "/etc/pgbackrest.conf").told("info", text)
    assert told.startswith(f"the repository can't be reached: {says}"), told
    assert "\n" not in told and "redacted" not in told


def test_a_repository_that_is_not_configured_is_told() -> None:
    text = "ERROR: [032]: key '3' is not valid for 'repo' option"
    told = Pgbackrest("demo", "/etc/pgbackrest.conf").told("info", text)
    assert told == "pgBackRest knows no repository 3 on this host; name one of its repoN options"


@pytest.mark.parametrize("command", ["info", "backup"])
def test_a_server_that_does_not_know_this_host_is_told(command: str) -> None:
    text = "[AccessError] raised from remote-0 tls protocol on 'vault': access denied"
    told = Pgbackrest("demo", "/etc/pgbackrest.conf").told(command, text)
    assert told.startswith("vault does not let this host at stanza demo: its server knows no client of that stanza")


def test_a_server_that_refuses_this_host_s_certificate_is_told() -> None:
    text = "ERROR: [101]: TLS error [1:167773208] tlsv1 alert unknown ca"
    told = Pgbackrest("demo", "/etc/pgbackrest.conf").told("repo-ls", text)
    assert told == "the repository can't be reached: TLS error [1:167773208] tlsv1 alert unknown ca"


def test_health_tells_every_repository() -> None:
    backup = {"label": "20260101-000000F", "database": {"repo-key": 2}, "timestamp": {"stop": 1795259575}}
    stanza = {
        "archive": [{"database": {"repo-key": 2}, "max": "000000010000000000000009"}],
        "backup": [backup],
        "repo": [
            {"key": 3, "cipher": "none", "status": {"code": 99, "message": "[HostConnectError] gone"}},
            {"key": 2, "cipher": "aes-256-cbc", "status": {"code": 0, "message": "ok"}},
            {"key": 1, "cipher": "none", "status": {"code": 1, "message": "missing stanza path"}},
        ],
    }
    first, second, third = health(stanza, lambda text: f"told: {text}")
    assert (first["reachable"], first["problem"]) == (True, "it holds nothing of this stanza")
    assert second == {
        "repository": 2, "reachable": True, "problem": "", "encrypted": True, "backups": 1,
        "wal": "000000010000000000000009",
        "latest": "20260101-000000F", "latest_finished": "2026-11-21T11:12:55.000000Z",
    }  # fmt: skip
    assert (third["reachable"], third["problem"]) == (False, "told: [HostConnectError] gone")
