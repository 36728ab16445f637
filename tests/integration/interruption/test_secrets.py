# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replication password is in its file and in the replica's passfile, and nowhere else."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

from estate import Estate


def test_no_secret_is_shown_or_written(estate: Estate) -> None:
    secret = (estate.secrets / "replication").read_text().split()[0].encode()
    assert len(secret) == 32
    with estate.watched():
        estate.converge("restore_drill", "-vvv")
    # What was printed while the account was made, the replica cloned, a backup taken and drilled, at -vvv.
    logs = {path.name: path.read_bytes() for path in estate.logs.glob("*.log")}
    assert sum(b"ESTABLISH LOCAL CONNECTION" in log for log in logs.values()) >= 3, "nothing was printed at -vvv"
    assert sum(b"pg_basebackup" in line for line in estate.seen) > 0, "no process was seen"
    assert [name for name, log in logs.items() if secret in log] == []
    assert [line for line in estate.seen if secret in line] == []
    for path in estate.evidence.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path
    for path in (estate.evidence / "ledger").rglob("*.dsse.json"):
        assert secret not in base64.b64decode(json.loads(path.read_text())["payload"]), path
    # On the hosts: servers' logs, configuration, backups, markers, whatever lies around.
    holding = [path for path in estate.home.rglob("*") if _plain(path) and secret in _unescaped(path)]
    assert [path.relative_to(estate.home).as_posix() for path in holding] == ["db2/data.passfile"]
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600


def _unescaped(path: Path) -> bytes:
    """A file's content; a passfile has a backslash before a colon."""
    return path.read_bytes().replace(b"\\:", b":")


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
