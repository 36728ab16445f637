# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WAL that only the old data directory holds: into the archive where it is whole, else read from where it lies.

Without it a restore to `latest` would lose what was committed since the archiver's last success.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import remove_tree
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Backup, Repository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal_header import header


@dataclass(frozen=True)
class Local:
    """A WAL file of the old data directory. A segment is whole when the server had gone on to the next one."""

    path: Path
    size: int
    whole: bool

    def after(self, position: str) -> bool:
        """Whether it holds anything behind a position; what is older may have left the archive on purpose."""
        name = self.path.name
        return not lsn.SEGMENT.match(name) or lsn.segment_start(name, self.size) + self.size > lsn.parse(position)


def local_wal(data_dir: Path, system_identifier: str) -> dict[str, Local]:
    """The WAL files in a data directory, by name, without segments that were only made ready for later."""
    folder = data_dir / "pg_wal"
    begun: dict[str, int] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not lsn.SEGMENT.match(path.name):
            continue
        try:
            head = header(path)
        except OpsError:
            continue
        # A recycled file still holds its former content under its future name.
        right = head.position == lsn.segment_start(path.name, head.segment_size)
        if right and head.system_identifier == system_identifier:
            begun[path.name] = head.segment_size
    found: dict[str, Local] = {}
    for name, size in begun.items():
        following = lsn.segment_name(lsn.segment_timeline(name), lsn.segment_start(name, size) + size, size)
        marks = [folder / "archive_status" / f"{name}.{ending}" for ending in ("ready", "done")]
        whole = following in begun or any(mark.exists() for mark in marks)
        found[name] = Local(folder / name, size, whole)
    for path in folder.glob("*.history") if folder.is_dir() else []:
        if lsn.HISTORY.match(path.name):
            found[path.name] = Local(path, path.stat().st_size, True)
    return found


class Salvaged:
    """A repository, and beside it the WAL of the old data directory that the archive does not hold. See Repository."""

    def __init__(self, repository: Repository, local: Mapping[str, Local], links: Path) -> None:
        self.inner = repository
        self.tool = repository.tool
        self._local = local
        self._links = links
        self._held: dict[str, int] = {}

    def archived(self) -> dict[str, int]:
        self._held = self.inner.archived()
        return {**{name: one.size for name, one in self._local.items()}, **self._held}

    def strangers(self) -> str:
        return self.inner.strangers()

    def fetch_wal(self, name: str, target: Path) -> None:
        if name in self._local and name not in self._held:
            target.write_bytes(self._local[name].path.read_bytes())
        else:
            self.inner.fetch_wal(name, target)

    def salvage(self, data_dir: Path, from_lsn: str) -> tuple[list[str], list[str]]:
        """Archive what is whole, from `from_lsn` on, and link what is not; returns the names of both."""
        self.archived()
        missing = {name: one for name, one in self._local.items() if name not in self._held and one.after(from_lsn)}
        whole = sorted(name for name, one in missing.items() if one.whole)
        for name in whole:
            self.inner.keep_wal(missing[name].path, data_dir)
        rest = sorted(set(missing) - set(whole))
        remove_tree(self._links)
        self._links.mkdir(mode=0o700)
        for name in rest:
            (self._links / name).symlink_to(missing[name].path)
        return whole, rest

    def restore_command(self, data_dir: Path) -> str:
        place = shlex.quote(str(self._links)).replace("%", "%%")
        return f'test -f {place}/%f && cp {place}/%f "%p" || {self.inner.restore_command(data_dir)}'

    def tool_version(self) -> str:
        return self.inner.tool_version()

    def backups(self) -> list[Backup]:
        return self.inner.backups()

    def examined(self, backup: Backup) -> Backup:
        return self.inner.examined(backup)

    def tablespaces(self, backup: Backup) -> dict[str, str]:
        return self.inner.tablespaces(backup)

    def lay_down(
        self, backup: Backup, data_dir: Path, tablespace_dir: Path, places: Mapping[str, Path] | None = None
    ) -> None:
        self.inner.lay_down(backup, data_dir, tablespace_dir, places)

    def goes_on(self, data_dir: Path) -> bool:
        return self.inner.goes_on(data_dir)

    def keep_wal(self, file: Path, data_dir: Path) -> None:
        self.inner.keep_wal(file, data_dir)

    def backup_directory(self, backup: Backup) -> str:
        return self.inner.backup_directory(backup)

    def health(self) -> list[dict[str, Any]]:
        return self.inner.health()
