# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a refused run must leave as it was, and what it must say."""

from __future__ import annotations

from pathlib import Path

import psycopg
from estate import Estate

_STATE = """
SELECT name || '=' || coalesce(setting, '') FROM pg_settings
UNION ALL SELECT rolname || coalesce(rolpassword, '') FROM pg_authid
UNION ALL SELECT slot_name FROM pg_replication_slots ORDER BY 1
"""


def snapshot(estate: Estate) -> list[str]:
    """Files, settings, accounts, slots and servers: everything but what a running server writes by itself."""
    files = estate.tree(
        estate.backups, estate.home / "drill", estate.home / "bin", estate.home / "bad", estate.evidence
    )
    # Another cluster may run there, and writes.
    seen = [line for line in files if "/bad/other" not in line or ".conf" in line]
    for place in sorted([estate.home, *estate.home.glob("*/"), *estate.home.glob("drill/*/")]):
        if place.is_dir() and place.name not in (".ansible", "holds"):
            seen += sorted(str(path) for path in place.iterdir() if not path.name.startswith(".ansible"))
    for host in ("db1", "db2"):
        data = estate.home / host / "data"
        seen += estate.tree(data / "conf.d", data / "boringdb")
        seen += [
            path.read_text() for path in sorted([*data.glob("*.conf"), *data.glob("conf.d/*"), *data.glob("*.signal")])
        ]
        where = estate.server(host)
        with psycopg.connect(
            host=where["socket_dir"], port=where["port"], user="postgres", dbname="postgres"
        ) as connection:
            seen += [str(row[0]) for row in connection.execute(_STATE).fetchall()]
        seen.append(f"{host} is process {estate.postmaster(data)}")
    return seen


class Untouched:
    """Compares what is there with what was there before, case by case."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.before = snapshot(estate)

    def check(self) -> None:
        """Nothing was changed since the last look."""
        before, self.before = self.before, snapshot(self.estate)
        new, gone = set(self.before) - set(before), set(before) - set(self.before)
        assert not new, sorted(new)
        assert not gone, sorted(gone)


def one_line(message: str, *pieces: str) -> None:
    """A message is one line without a traceback, and holds every piece."""
    assert "\n" not in message, message
    assert "Traceback" not in message, message
    missing = [piece for piece in pieces if piece not in message]
    assert not missing, f"{missing} is not in: {message}"


def bad(estate: Estate, name: str) -> Path:
    """A place for something that is wrong."""
    place = estate.home / "bad" / name
    place.mkdir(parents=True, exist_ok=True)
    return place
