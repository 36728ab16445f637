# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every backup tool's repository looks like to backup, restore and the drill; one table picks the tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Protocol

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import refuse_impossible

#: Options of every module that works on a repository; the doc fragment `repository` describes them.
REPOSITORY_OPTIONS: dict[str, dict[str, Any]] = {
    "tool": {"type": "str", "choices": ["native", "pgbackrest"], "required": True},
    "backup_path": {"type": "path"},
    "wal_path": {"type": "path"},
    "stanza": {"type": "str"},
    "pgbackrest_config": {"type": "path", "default": "/etc/pgbackrest.conf"},
    "repository": {"type": "int"},
}


@dataclass(frozen=True)
class Backup:
    """One physical backup. Times are UTC, positions are LSNs, `bytes` is the size when restored.

    `problem` says why it can't be restored; it is empty for a sound one. `manifest_sha256` may be empty in a list:
    where it costs a request, Repository.examined reads it. `repository` is the tool's number of the repository that
    holds it, 0 where the tool has no numbers. `prior` is the label of the backup that an incremental one builds on.
    """

    label: str
    type: str
    started: datetime
    finished: datetime
    timeline: int
    start_lsn: str
    stop_lsn: str
    bytes: int
    major: int
    system_identifier: str
    manifest_sha256: str
    problem: str = ""
    repository: int = 0
    prior: str = ""

    def facts(self) -> dict[str, Any]:
        """The shape that modules return."""
        return {**asdict(self), "started": stamp(self.started), "finished": stamp(self.finished)}


class Repository(Protocol):
    """Backups and archived WAL in one place. Every method raises OpsError where it can't be reached or read."""

    tool: str

    def tool_version(self) -> str:
        """The tool's version on this host."""

    def backups(self) -> list[Backup]:
        """All backups, the oldest first, the unusable ones with their problem."""

    def examined(self, backup: Backup) -> Backup:
        """The backup with its manifest's digest, and with its problem where that or what it builds on is gone."""

    def health(self) -> list[dict[str, Any]]:
        """Every repository that the tool knows here, reachable or not; empty where the tool has no numbers."""

    def archived(self) -> dict[str, int]:
        """Archived WAL segments and timeline histories by name, with their size in bytes (-1: not known)."""

    def fetch_wal(self, name: str, target: Path) -> None:
        """Put an archived file at `target`, checked as far as the tool can."""

    def tablespaces(self, backup: Backup) -> dict[str, str]:
        """The backup's tablespaces by their OID, with where they were; empty text where the backup does not tell."""

    def lay_down(
        self, backup: Backup, data_dir: Path, tablespace_dir: Path, places: Mapping[str, Path] | None = None
    ) -> None:
        """Put a backup's files in place, without any recovery settings.

        Tablespaces go to their OID's place in `places`, else below `tablespace_dir`. Where `data_dir` holds data, and
        the tool can, only what differs from the backup is fetched.
        """

    def goes_on(self, data_dir: Path) -> bool:
        """Whether `lay_down` takes what a killed one of any backup left at `data_dir` for a beginning."""

    def restore_command(self, data_dir: Path) -> str:
        """The `restore_command` that recovery fetches WAL with."""

    def strangers(self) -> str:
        """What to say of files in the archive that can't be read as segments and may be; empty for none."""

    def keep_wal(self, file: Path, data_dir: Path) -> None:
        """Put a whole WAL file of a server's `data_dir` into the archive, as its archiver would have."""

    def backup_directory(self, backup: Backup) -> str:
        """Where a backup lies as a plain directory that pg_verifybackup can read, or an empty string."""


def stamp(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC with microseconds."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def open_repository(params: Mapping[str, Any], program: Callable[[str], str]) -> Repository:
    """The repository that a module's options name. `program` finds a server program by its name."""
    # Imported here, because the tools' files import this one.
    from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_native import (  # noqa: PLC0415
        NativeRepository,
    )
    from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest import (  # noqa: PLC0415
        PgbackrestRepository,
    )

    refuse_impossible(params)
    if params["tool"] == "native":
        return NativeRepository(Path(params["backup_path"]), Path(params["wal_path"]), program)
    return PgbackrestRepository(params["stanza"], params["pgbackrest_config"], params.get("repository"))


def choose(backups: list[Backup], wanted: str, pick: Callable[[list[Backup]], Backup]) -> Backup:
    """The backup that `latest`, `random` or a label names. Raises OpsError with what there is."""
    sound = [backup for backup in backups if not backup.problem]
    if wanted in ("latest", "random"):
        if not sound:
            broken = "; ".join(f"{backup.label}: {backup.problem}" for backup in backups)
            raise OpsError(f"no complete backup in the repository ({broken or 'it is empty'})")
        return sound[-1] if wanted == "latest" else pick(sound)
    for backup in backups:
        if backup.label == wanted:
            if backup.problem:
                raise OpsError(f"backup {wanted} can't be restored: {backup.problem}")
            return backup
    raise OpsError(f"no backup {wanted}; there are {', '.join(backup.label for backup in backups) or 'none'}")
