# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pgBackRest says, in one line: its messages as they were printed by 2.45."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Damaged, OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import repository_pgbackrest_program
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest_health import (
    health,
    what_is_gone,
)
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


#: What `restore` printed of damage that was done to the repository: no word of a file in the first one.
BYTE = "ERROR: [029]: raised from local-2 protocol: lz4 error: [-18] ERROR_contentChecksum_invalid"
FILE = (
    "ERROR: [055]: raised from local-1 protocol: raised from remote-1 ssh protocol on 'vault': unable to open missing "
    "file '/var/lib/pgbackrest/backup/demo/20261127-101703F/pg_data/base/5/16427.lz4' for read"
)


@pytest.mark.parametrize(("text", "says"), [(BYTE, "contentChecksum_invalid"), (FILE, "base/5/16427.lz4")])
def test_a_backup_that_is_damaged_is_told_as_that(monkeypatch: pytest.MonkeyPatch, text: str, says: str) -> None:
    def restore(argv: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 29, "", text)

    monkeypatch.setattr(repository_pgbackrest_program, "run", restore)
    program = Pgbackrest("demo", "/etc/pgbackrest.conf")
    with pytest.raises(Damaged, match=r"^a backup of stanza demo is damaged in the repository: .*") as caught:
        program.call("restore")
    assert says in str(caught.value) and "\n" not in str(caught.value)
    # Of any other command the same words may mean a key that does not fit.
    with pytest.raises(OpsError) as other:
        program.call("check")
    assert not isinstance(other.value, Damaged)


@pytest.mark.parametrize(("there", "says"), [
    ([], "the repository can't be reached: there is nothing where it should be; is it mounted?"),
    (["", "archive/demo"], "the backups can't be reached: backup/demo is gone from the repository"),
    ([""], ""),
], ids=["not mounted", "no backups", "another stanza"])  # fmt: skip
def test_what_is_gone_of_a_repository_is_told(there: list[str], says: str) -> None:
    assert what_is_gone("demo", lambda place="": {".": {}, **({"x": {}} if place in there else {})}) == says


def test_an_archive_that_is_gone_is_not_a_stanza_that_was_never_made() -> None:
    text = (
        "[FileMissingError] unable to load info file '/r/archive/demo/archive.info' or "
        "'/r/archive/demo/archive.info.copy':\n"
        "FileMissingError: raised from remote-0 ssh protocol on 'vault': unable to open missing file "
        "'/r/archive/demo/archive.info' for read\nHINT: has a stanza-create been performed?"
    )
    program = Pgbackrest("demo", "/etc/pgbackrest.conf")
    assert program.told("info", text) == "the WAL archive can't be reached: archive/demo is gone from the repository"
    assert program.told("check", text).startswith("the repository has no stanza demo; create it")


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
