# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running server for the tests of what PostgreSQL itself reads and writes, and an archive in memory."""

from __future__ import annotations

import atexit
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.modules import REPO

sys.path.insert(0, str(REPO / "tests/integration/embedded"))

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive
from embedded_servers import Server, await_, free_port

__all__ = ["Make", "Memory", "Running", "Server", "await_", "free_port", "scratch"]

#: Makes an Archive of what the running server's archive holds now.
Make = Callable[[], Archive]


@dataclass
class Running:
    """A server that archives every finished segment into the directory `archive`."""

    server: Server
    archive: Path

    @property
    def waldump(self) -> str:
        """The pg_waldump of its version."""
        return str(self.server.bin_dir / "pg_waldump")

    def archived(self) -> str:
        """Finish the current segment, wait until it is archived, and return its name."""
        name = self.server.psql(
            "SELECT pg_walfile_name(pg_current_wal_insert_lsn())", "SELECT pg_switch_wal()"
        ).split()[0]
        await_((self.archive / name).exists, what=f"the archiving of {name}")
        return name

    def read_file(self, text: str) -> dict[str, str]:
        """What PostgreSQL finds in a configuration file, the last one of a name winning. Nothing is applied."""
        (self.server.data_dir / "app.conf").write_text(text, encoding="utf-8")
        query = """SELECT json_object_agg(lower(name), setting ORDER BY seqno) FROM pg_file_settings
                   WHERE sourcefile LIKE '%/app.conf'"""
        try:
            return self._json(query)
        finally:
            (self.server.data_dir / "app.conf").write_text("")

    def read_settings(self, text: str, names: Iterable[str]) -> dict[str, str]:
        """The values of these settings in a session after a reload with this text."""
        (self.server.data_dir / "app.conf").write_text(text, encoding="utf-8")
        before = self.server.psql("SELECT pg_conf_load_time()")
        self.server.psql("SELECT pg_reload_conf()")
        await_(lambda: self.server.psql("SELECT pg_conf_load_time()") != before, what="the reload")
        rows = ", ".join(f"('{name}')" for name in names)
        found = self._json(f"SELECT json_object_agg(n, current_setting(n, true)) FROM (VALUES {rows}) v (n)")
        (self.server.data_dir / "app.conf").write_text("")
        return found

    def _json(self, query: str) -> dict[str, str]:
        return dict(json.loads(self.server.psql(query) or "{}"))


class Memory:
    """A repository's archive in memory: segments by size, histories by their text."""

    tool = "memory"

    def __init__(self, *names: str, size: int = 16 << 20, histories: dict[int, str] | None = None) -> None:
        self.sizes = {name: size for name in names}
        self.histories = {f"{timeline:08X}.history": text for timeline, text in (histories or {}).items()}

    def archived(self) -> dict[str, int]:
        """Names and sizes."""
        return {**self.sizes, **{name: len(text) for name, text in self.histories.items()}}

    def fetch_wal(self, name: str, target: Path) -> None:
        """A history; there are no bytes of segments here."""
        if name not in self.histories:
            raise OpsError(f"{name} is not in the archive")
        target.write_text(self.histories[name])


def scratch() -> Path:
    """A directory for one archive's segments, removed when the tests end."""
    place = tempfile.mkdtemp(prefix="bdb-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Path(place)
