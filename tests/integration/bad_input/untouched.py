# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a refused run must leave as it was, and what it must say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from estate import Estate

_SETTINGS = "SELECT string_agg(name || '=' || coalesce(setting, ''), E'\\n' ORDER BY name) FROM pg_settings"
_ROLES = "SELECT string_agg(rolname || coalesce(rolpassword, ''), ' ' ORDER BY rolname) FROM pg_authid"
_SLOTS = "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots"


def snapshot(estate: Estate) -> list[str]:
    """Files, settings, accounts, slots and servers: everything but what a running server writes by itself."""
    seen = estate.tree(estate.backups, estate.home / "drill", estate.home / "bin", estate.home / "bad", estate.evidence)
    for place in sorted([estate.home, *estate.home.glob("*/"), *estate.home.glob("drill/*/")]):
        if place.is_dir() and place.name not in (".ansible", "holds"):
            seen += sorted(str(path) for path in place.iterdir() if not path.name.startswith(".ansible"))
    for host in ("db1", "db2"):
        data = estate.home / host / "data"
        seen += estate.tree(data / "conf.d", data / "boringdb")
        seen += [path.read_text() for path in sorted([*data.glob("*.conf"), *data.glob("conf.d/*"), *data.glob("*.signal")])]
        seen += [estate.sql(_SETTINGS, host), f"{host} is process {estate.postmaster(data)}"]
    return [*seen, estate.sql(_ROLES), estate.sql(_SLOTS)]


@contextlib.contextmanager
def untouched(estate: Estate) -> Iterator[None]:
    """Nothing is changed by what runs inside."""
    before = snapshot(estate)
    yield
    after = snapshot(estate)
    assert [line for line in after if line not in before] == []
    assert after == before


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
