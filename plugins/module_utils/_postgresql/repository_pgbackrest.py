# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pgBackRest repository, local or behind SSH, through pgBackRest's own commands and nothing else.

Reading needs a configuration that tells where the repository is, no cluster: planning a restore works from a host
that holds no data directory yet. Where several repositories are configured and none is named, the first one that
answers is used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Damaged, OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Backup
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest_codec import decompress
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest_health import (
    health,
    what_is_gone,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest_program import Pgbackrest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest_retention import (
    Expiry,
    expire,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest_verify import problems_of

#: `info`'s status codes of a repository.
_OK, _NO_PATH, _NO_BACKUP, _NO_DATA = 0, 1, 2, 3
_ARCHIVED = re.compile(r"^(?:[0-9A-F]{16}/([0-9A-F]{24})-([0-9a-f]{40})(?:\.\w+)?|([0-9A-F]{8}\.history))$")
_ARCHIVED_FILTER = r"([0-9A-F]{24}-[0-9a-f]{40}(\.[a-z0-9]+)?|[0-9A-F]{8}\.history)$"


class PgbackrestRepository:
    """See Repository. `config_path` is the configuration file of this host, `repository` the N of its repoN."""

    tool = "pgbackrest"

    def __init__(self, stanza: str, config_path: str, repository: int | None = None) -> None:
        self.stanza = stanza
        self._program = Pgbackrest(stanza, config_path)
        self._wanted = repository or 0
        self._key = self._number = self._wanted
        self._health: list[dict[str, Any]] = []
        self._archive_id = ""
        self._databases: dict[int, tuple[str, str]] = {}
        self._entries: list[dict[str, Any]] = []
        self._paths: dict[str, list[str]] = {}

    # --- what is there --------------------------------------------------------------------------------------

    def tool_version(self) -> str:
        # Newer ones take no option with this command.
        return run(["pgbackrest", "version"]).stdout.split()[-1]

    def backups(self) -> list[Backup]:
        found = self._catalogue()
        labels = [entry["label"] for entry in found]
        listed = [
            replace(
                _backup(entry, self._databases[entry["database"]["id"]], self._problem(entry, labels)),
                repository=self._number,
            )
            for entry in found
        ]
        return sorted(listed, key=lambda backup: (backup.finished, backup.label))

    def examined(self, backup: Backup) -> Backup:
        digest = self._manifest_digest(backup.label)
        gone = "" if digest else "its manifest is missing from the repository"
        return replace(backup, manifest_sha256=digest, problem=backup.problem or gone)

    def backups_or_none(self) -> list[Backup]:
        """The backups, also where the repository is reached but holds nothing of this stanza yet."""
        return self.backups() if self._status() in (_OK, _NO_BACKUP) else []

    def health(self) -> list[dict[str, Any]]:
        if not self._health:
            self._status()
        return self._health

    def archived(self) -> dict[str, int]:
        if not self._archive_id:
            self._catalogue()
        place = f"archive/{self.stanza}/{self._archive_id}"
        listing = self._program.document("repo-ls", "--recurse", f"--filter={_ARCHIVED_FILTER}", *self._repo(), place)
        self._paths = {}
        for path in listing:
            found = _ARCHIVED.match(path)
            if found:
                self._paths.setdefault(found.group(1) or found.group(3), []).append(path)
        return dict.fromkeys(self._paths, -1)

    def strangers(self) -> str:
        return ""

    def fetch_wal(self, name: str, target: Path) -> None:
        if name not in self._paths:
            self.archived()
        paths = self._paths.get(name, [])
        if not paths:
            raise OpsError(f"{name} is not in archive {self._archive_id} of stanza {self.stanza}")
        if len(paths) > 1:
            raise OpsError(f"{name} is in the archive with {len(paths)} different contents: two primaries archived it")
        stored = self._program.read(f"archive/{self.stanza}/{self._archive_id}/{paths[0]}", *self._repo())
        found = _ARCHIVED.match(paths[0])
        content = decompress(paths[0], stored)
        checksum = found.group(2) if found else None
        if checksum and hashlib.new("sha1", content, usedforsecurity=False).hexdigest() != checksum:
            raise Damaged(f"WAL segment {name} is damaged in the archive: its checksum differs from its name's")
        target.write_bytes(content)

    # --- what a restore does --------------------------------------------------------------------------------

    def tablespaces(self, backup: Backup) -> dict[str, str]:
        document = self._program.document("info", f"--set={backup.label}", *self._repo())
        rows = [row for entry in document[0]["backup"] for row in entry.get("tablespace") or []]
        return {str(row["oid"]): str(row["destination"]) for row in rows}

    def lay_down(
        self, backup: Backup, data_dir: Path, tablespace_dir: Path, places: Mapping[str, Path] | None = None
    ) -> None:
        data_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A configuration of the repository host names the cluster's host; this restore is a local one.
        self._program.call(
            "restore",
            f"--set={backup.label}",
            "--type=none",
            "--reset-pg1-host",
            f"--pg1-path={data_dir}",
            f"--tablespace-map-all={tablespace_dir}",
            *(f"--tablespace-map={oid}={place}" for oid, place in (places or {}).items()),
            *(["--delta"] if self.goes_on(data_dir) else []),
            _at_once(),
            *self._repo(),
        )
        # pgBackRest leaves it behind with --type=none, too; without a restore_command it stops the server's start.
        (data_dir / "recovery.signal").unlink(missing_ok=True)

    def goes_on(self, data_dir: Path) -> bool:
        # Without either it doubts that these are PostgreSQL's files. It writes its manifest first, and then compares
        # every file's checksum.
        return any((data_dir / name).exists() for name in ("PG_VERSION", "backup.manifest"))

    def restore_command(self, data_dir: Path) -> str:
        argv = self._program.argv("archive-get", "--reset-pg1-host", f"--pg1-path={data_dir}", *self._repo())
        return f'{shlex.join(argv).replace("%", "%%")} %f "%p"'

    def keep_wal(self, file: Path, data_dir: Path) -> None:
        self._program.call("archive-push", f"--pg1-path={data_dir}", "--no-archive-async", *self._repo(), str(file))

    def backup_directory(self, backup: Backup) -> str:
        del backup
        return ""

    # --- what changes or reads the whole repository ----------------------------------------------------------

    def take(self, backup_type: str, standby: bool = False) -> Backup:
        """Prove archiving, take a backup (full, diff or incr), and return it. Runs on the repository's host.

        With `standby` the data files are copied from a replica. Nothing is expired. Raises OpsError where it can't be
        taken, and where the new backup holds pages with invalid checksums.
        """
        known = {entry["label"] for entry in self._catalogue()}
        if not self._wanted:
            # It asks every repository: one that is down must not keep a backup from the one that is named. The backup
            # itself waits for its WAL in that one.
            self._program.call("check")
        words = [f"--type={backup_type}", "--start-fast", "--no-expire-auto", *self._repo()]
        _text, warnings = self._program.call("backup", *words, *(["--backup-standby"] if standby else []))
        new = [backup for backup in self.backups() if backup.label not in known]
        if not new:
            raise OpsError(f"pgbackrest backup of stanza {self.stanza} ended without an error and without a new backup")
        invalid = [warning for warning in warnings if "invalid page checksum" in warning]
        new[-1] = self.examined(new[-1])
        problem = new[-1].problem or "; ".join(invalid)
        if problem:
            where = f" ({'; '.join(invalid)})" if invalid and new[-1].problem else ""
            raise OpsError(f"backup {new[-1].label} was taken, but {problem}{where}")
        return new[-1]

    def expire(self, verified: list[str]) -> Expiry:
        """Remove what retention no longer keeps, but not the backup that was verified last, nor what it builds on.

        `verified` holds labels of verified backups, the newest verification first.
        """
        self._catalogue()
        return expire(self._program, self._number, self._entries, verified)

    def verify(self, backup: Backup) -> list[str]:
        """Have pgBackRest read the stanza's whole repository; returns what is wrong with the backup or the archive.

        It compares stored bytes with their checksums, in a time that grows with the repository, not with the backup.
        """
        text, _warnings = self._program.call("verify", "--output=text", "--verbose", _at_once(), *self._repo())
        return problems_of(text, backup.label)

    # --- the catalogue --------------------------------------------------------------------------------------

    def _repo(self) -> list[str]:
        """The option that keeps every call on one repository, where there are several."""
        return [f"--repo={self._key}"] if self._key else []

    def _status(self) -> int:
        """Read `info`; returns the chosen repository's status code. Raises OpsError where none can be read."""
        document = self._program.document("info", *([f"--repo={self._wanted}"] if self._wanted else []))
        stanza = next((entry for entry in document if entry["name"] == self.stanza), None)
        if stanza is None:
            return _NO_PATH
        repositories: list[dict[str, Any]] = stanza["repo"]
        self._health = health(stanza, lambda text: self._program.told("info", text))
        readable = [entry for entry in repositories if entry["status"]["code"] in (_OK, _NO_BACKUP)]
        empty = [entry for entry in repositories if entry["status"]["code"] in (_NO_PATH, _NO_DATA)]
        if not readable and not empty:
            raise OpsError("; ".join(entry["problem"] for entry in self._health), repositories=self._health)
        chosen = (readable or empty)[0]
        self._number = mine = int(chosen["key"])
        self._key = mine if len(repositories) > 1 or mine > 1 else self._wanted
        databases = [entry for entry in stanza["db"] if entry["repo-key"] == mine]
        self._databases = {entry["id"]: (entry["version"], str(entry["system-id"])) for entry in databases}
        current = max(self._databases, default=0)
        self._archive_id = f"{self._databases[current][0]}-{current}" if current else ""
        self._entries = [entry for entry in stanza["backup"] if entry["database"]["repo-key"] == mine]
        return int(chosen["status"]["code"])

    def _catalogue(self) -> list[dict[str, Any]]:
        """`info`'s entries of the backups. Raises OpsError where there is no such stanza."""
        if self._status() in (_NO_PATH, _NO_DATA):
            gone = what_is_gone(self.stanza, lambda *place: self._program.document("repo-ls", *self._repo(), *place))
            raise OpsError(gone or self._program.told("info", "has a stanza-create been performed"))
        return self._entries

    def _manifest_digest(self, label: str) -> str:
        """SHA-256 of a backup's manifest, or an empty string where both copies of it are gone."""
        for name in ("backup.manifest", "backup.manifest.copy"):
            place = f"backup/{self.stanza}/{label}/{name}"
            content = self._program.read(place, "--ignore-missing", *self._repo())
            if content:
                return hashlib.sha256(content).hexdigest()
        return ""

    def _problem(self, entry: dict[str, Any], labels: list[str]) -> str:
        """Why a backup can't be trusted, from the catalogue alone."""
        version, _identity = self._databases[entry["database"]["id"]]
        archive_id = f"{version}-{entry['database']['id']}"
        gone = [label for label in entry.get("reference") or [] if label not in labels]
        if gone:
            return f"it builds on backup {', '.join(gone)}, which is gone"
        if not entry["archive"]["start"] or not entry.get("lsn", {}).get("start"):
            return "it was taken without its WAL (offline or with --no-archive-check)"
        if archive_id != self._archive_id:
            return (
                f"it is of an earlier cluster of this stanza (archive {archive_id}, now {self._archive_id}); "
                "bring it back with pgbackrest restore itself"
            )
        if entry["error"]:
            return f"it holds pages with invalid checksums, in {self._invalid_files(entry['label'])}"
        return ""

    def _invalid_files(self, label: str) -> str:
        document = self._program.document("info", f"--set={label}", *self._repo())
        files = [name for entry in document[0]["backup"] for name in entry.get("error-list") or []]
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        return f"{', '.join(files[:5])}{more}" if files else "files that its manifest names"


def _at_once() -> str:
    """As many processes as this host has processors, within reason."""
    return f"--process-max={max(1, min(os.cpu_count() or 1, 8))}"


def _backup(entry: dict[str, Any], database: tuple[str, str], problem: str) -> Backup:
    version, identity = database
    positions = entry.get("lsn") or {}
    segment = entry["archive"]["start"] or "00000000"
    return Backup(
        label=entry["label"],
        type=entry["type"],
        started=datetime.fromtimestamp(entry["timestamp"]["start"], timezone.utc),
        # Whole seconds are kept: only at the end of that second the backup is surely consistent.
        finished=datetime.fromtimestamp(entry["timestamp"]["stop"] + 1, timezone.utc),
        timeline=int(segment[:8], 16),
        start_lsn=positions.get("start") or "0/0",
        stop_lsn=positions.get("stop") or "0/0",
        bytes=int(entry["info"]["size"]),
        major=int(version.split(".")[0]),
        system_identifier=identity,
        manifest_sha256="",
        problem=problem,
        prior=entry.get("prior") or "",
    )
