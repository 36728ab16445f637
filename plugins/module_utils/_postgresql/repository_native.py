# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of PostgreSQL's own tools: pg_basebackup's directories and a directory of archived WAL.

What a backup is gets read from the files the engine wrote (`backup_label`, `backup_manifest`, `pg_control`), never
from a catalogue of ours, so backups that somebody took by hand are as good as the ones taken here.
"""

from __future__ import annotations

import contextlib
import filecmp
import getpass
import os
import re
import shlex
import shutil
import struct
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.copy_tree import copy_tree
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, sha256_of, sync_directory
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import repository_native_chain as incremental
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Backup
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_native_chain import PARTIAL

#: A segment's name, and more. A backup's history file and a partial segment are nothing to read.
_STRANGER = re.compile(r"[0-9A-F]{24}\.(?!partial$|[0-9A-F]{8}\.backup$)")
#: Below the backups: their tablespaces, one directory per label.
TABLESPACES = ".tablespaces"


class NativeRepository:
    """See Repository. `backup_path` holds one directory per backup, or is itself one."""

    tool = "native"

    def __init__(self, backup_path: Path, wal_path: Path, program: Callable[[str], str]) -> None:
        self.backup_path = backup_path
        self.wal_path = wal_path
        self._program = program
        self._read_already: dict[Path, Backup] = {}

    def tool_version(self) -> str:
        # pg_basebackup (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)
        return run([self._program("pg_basebackup"), "--version"]).stdout.split()[2]

    def backups(self) -> list[Backup]:
        self._read_already = {}
        try:
            if not self.backup_path.is_dir():
                raise OpsError(f"the repository can't be reached: no directory {self.backup_path}")
            if (self.backup_path / "PG_VERSION").exists():
                return [self._read(self.backup_path)]
            found = [place for place in self.backup_path.iterdir() if place.is_dir() and not place.name.startswith(".")]
        except PermissionError as exc:
            raise OpsError(_denied(exc)) from exc
        return sorted((self._read(place) for place in found), key=lambda backup: (backup.finished, backup.label))

    def _read(self, place: Path) -> Backup:
        # Once each: what a chain of incremental backups builds on is looked at for every one of them.
        if place not in self._read_already:
            self._read_already[place] = self._read_anew(place)
        return self._read_already[place]

    def _read_anew(self, place: Path) -> Backup:
        kind = "full"
        try:
            kind = "incr" if incremental.is_incremental(place) else kind
            return self._read_sound(place, kind)
        except (OpsError, OSError, ValueError, KeyError, IndexError, struct.error) as exc:
            begun = datetime.fromtimestamp(place.stat().st_mtime, timezone.utc)
            why = _denied(exc) if isinstance(exc, PermissionError) else str(exc) or type(exc).__name__
            return Backup(place.name, kind, begun, begun, 0, "0/0", "0/0", 0, 0, "", "", problem=why)

    def _read_sound(self, place: Path, kind: str) -> Backup:
        manifest = place / "backup_manifest"
        if place.name.endswith(PARTIAL) or not manifest.exists():
            raise OpsError("incomplete: it was never finished (no backup_manifest)")
        if any(place.glob("base.tar*")):
            raise OpsError("a tar backup (base.tar); take plain ones, pg_basebackup -F plain")
        content = incremental.read_manifest(place)
        spans = sorted(content["WAL-Ranges"], key=lambda span: int(span["Timeline"]))
        finished = datetime.fromtimestamp(manifest.stat().st_mtime, timezone.utc)
        label = read_text(place / "backup_label")
        control = run([self._program("pg_controldata"), "-D", str(place)]).stdout
        identity = re.search(r"Database system identifier:\s+(\d+)", control)
        block = re.search(r"Database block size:\s+(\d+)", control)
        if not label:
            raise OpsError("incomplete: backup_label is missing")
        if not identity or not block:
            raise OpsError("global/pg_control can't be read")
        prior = self._prior(place)
        return Backup(
            label=place.name,
            type=kind,
            started=_label_time(label, finished),
            finished=finished,
            timeline=int(spans[-1]["Timeline"]),
            start_lsn=spans[0]["Start-LSN"],
            stop_lsn=spans[-1]["End-LSN"],
            bytes=incremental.restored_bytes(place, content, int(block.group(1))),
            major=int(read_text(place / "PG_VERSION").strip()),
            system_identifier=identity.group(1),
            manifest_sha256=sha256_of(manifest),
            prior=prior.label if prior else "",
        )

    def _prior(self, place: Path) -> Backup | None:
        """What an incremental backup builds on, None for a full one. Raises OpsError where that can't be used."""
        before = incremental.prior(place)
        if before is None:
            return None
        prior = self._read(before)
        if prior.problem.startswith(incremental.BROKEN):
            raise OpsError(prior.problem)
        if prior.problem:
            raise OpsError(f"{incremental.BROKEN}: {prior.label}, on which {place.name} builds: {prior.problem}")
        return prior

    def examined(self, backup: Backup) -> Backup:
        if backup.problem or backup.type == "full":
            return backup
        try:
            why = incremental.altered(incremental.chain(Path(self.backup_directory(backup))))
        except (OpsError, OSError, ValueError, KeyError) as exc:
            why = str(exc)
        return replace(backup, problem=why)

    def health(self) -> list[dict[str, Any]]:
        return []

    def archived(self) -> dict[str, int]:
        try:
            if not self.wal_path.is_dir():
                raise OpsError(f"the WAL archive can't be reached: no directory {self.wal_path}")
            found = list(self.wal_path.iterdir())
            names = [entry for entry in found if lsn.SEGMENT.match(entry.name) or lsn.HISTORY.match(entry.name)]
            return {entry.name: entry.stat().st_size for entry in names}
        except PermissionError as exc:
            raise OpsError(_denied(exc)) from exc

    def strangers(self) -> str:
        # Segments under names of their own, which whoever archived them compressed.
        found = sorted(entry.name for entry in self.wal_path.iterdir() if _STRANGER.match(entry.name))
        count = "1 file that is no segment" if len(found) == 1 else f"{len(found)} files that are no segments"
        return f"; it holds {count}, such as {found[0]}: are they compressed?" if found else ""

    def fetch_wal(self, name: str, target: Path) -> None:
        shutil.copyfile(self.wal_path / name, target)

    def tablespaces(self, backup: Backup) -> dict[str, str]:
        links = Path(self.backup_directory(backup), "pg_tblspc")
        return {link.name: "" for link in links.iterdir()} if links.is_dir() else {}

    def lay_down(
        self, backup: Backup, data_dir: Path, tablespace_dir: Path, places: Mapping[str, Path] | None = None
    ) -> None:
        source = Path(self.backup_directory(backup))

        def place_of(oid: str) -> Path:
            return (places or {}).get(oid, tablespace_dir / oid)

        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        members = incremental.chain(source)
        if len(members) > 1:
            incremental.combine(self._program, members, data_dir, place_of)
            return
        copy_tree(source, data_dir)
        data_dir.chmod(0o700)
        for link in (data_dir / "pg_tblspc").iterdir():
            place = place_of(link.name)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy_tree((source / "pg_tblspc" / link.name).resolve(), place)
            link.unlink()
            link.symlink_to(place)

    def goes_on(self, data_dir: Path) -> bool:
        # Not every backup has a manifest to compare with, and a copy is local.
        del data_dir
        return False

    def restore_command(self, data_dir: Path) -> str:
        del data_dir
        # A percent sign in a restore_command is written twice.
        return f'cp {shlex.quote(str(self.wal_path)).replace("%", "%%")}/%f "%p"'

    def keep_wal(self, file: Path, data_dir: Path) -> None:
        del data_dir
        target = self.wal_path / file.name
        beside = target.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            if not target.exists():
                shutil.copyfile(file, beside)
                with beside.open("rb+") as stream:
                    os.fsync(stream.fileno())
                # link, not rename: it fails when somebody else was faster, instead of replacing.
                with contextlib.suppress(FileExistsError):
                    os.link(beside, target)
        finally:
            beside.unlink(missing_ok=True)
        if not filecmp.cmp(file, target, shallow=False):
            raise OpsError(f"{target} is there with other content than {file}: two servers archived to one place")
        sync_directory(self.wal_path)

    def backup_directory(self, backup: Backup) -> str:
        one = self.backup_path
        return str(one if (one / "PG_VERSION").exists() and one.name == backup.label else one / backup.label)


def _denied(error: OSError) -> str:
    return f"{getpass.getuser()} may not read {error.filename}: give it read access to the whole folder"


def _label_time(label: str, otherwise: datetime) -> datetime:
    """START TIME of a backup_label. It is in the server's log_timezone, whose name gives no offset unless it is UTC."""
    found = re.search(r"^START TIME: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\S+)", label, re.MULTILINE)
    if not found or found.group(2) not in ("UTC", "GMT", "Etc/UTC"):
        return otherwise
    return datetime.strptime(found.group(1), "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
