# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where logical dumps lie: one directory each, made beside and renamed, with a manifest that says all that is in it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import remove_tree, sha256_of, sync_directory
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock, lock_within

MANIFEST = "manifest.json"
GLOBALS = "globals.sql"
PARTIAL = ".partial"
SCHEMA_VERSION = 1
_LOCK = ".dump.lock"


@dataclass(frozen=True)
class Dump:
    """One whole dump."""

    path: Path
    manifest: dict[str, Any]

    @property
    def label(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def digest(self) -> str:
        """What names it in evidence: its manifest holds the digest of every other file."""
        return sha256_of(self.path / MANIFEST)

    def folder(self, database: str) -> Path:
        """Where a database lies in it. Raises OpsError where it is not in it."""
        entry = self.manifest["databases"].get(database)
        if entry is None:
            there = ", ".join(sorted(self.manifest["databases"]))
            raise OpsError(f"database {database} is not in dump {self.label}; it holds {there}")
        return self.path / str(entry["directory"])

    def damage(self, below: str = "") -> list[str]:
        """What is not as it was written, of the files whose names begin with `below`; empty where all are."""
        found = []
        for name, said in sorted(self.manifest["files"].items()):
            if not name.startswith(below):
                continue
            place = self.path / name
            if not place.is_file():
                found.append(f"{name} is missing")
            elif place.stat().st_size != said["bytes"] or sha256_of(place) != said["sha256"]:
                found.append(f"{name} is not what was written")
        return found


def dumps_in(path: Path) -> list[Dump]:
    """Every whole dump in a directory, the oldest first."""
    found = []
    for place in sorted(path.iterdir() if path.is_dir() else []):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
            if manifest["schema_version"] == SCHEMA_VERSION and manifest["label"] == place.name:
                found.append(Dump(place, manifest))
    return sorted(found, key=lambda dump: (dump.manifest["started"], dump.label))


def find(path: Path, label: str) -> Dump:
    """The dump of a label, or the `latest`. Raises OpsError where there is none."""
    there = dumps_in(path)
    if not path.is_dir():
        raise OpsError(f"refused: there is no directory {path} (mount it on this host, or correct dump_path)")
    if not there:
        raise OpsError(f"refused: {path} holds no whole dump (take one first, with the playbook dump)")
    if label == "latest":
        return there[-1]
    for dump in there:
        if dump.label == label:
            return dump
    newest = ", ".join(dump.label for dump in there[-3:])
    raise OpsError(f"refused: {path} holds no whole dump {label} (the newest are {newest})")


@contextlib.contextmanager
def locked(path: Path, wait_seconds: float) -> Iterator[None]:
    """One dump at a time into a directory, also from several hosts that mount it: locks of files reach over NFS."""
    with host_lock(str(path), "dump", wait_seconds):
        handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            refusal = f"{path} is in use by a dump on another host; wait for it to end or set lock_timeout"
            lock_within(handle, wait_seconds, lambda: refusal)
            yield
        finally:
            os.close(handle)


def remove_partial(path: Path) -> list[str]:
    """Remove what killed runs left, under the lock that says that it is nobody's. Returns their labels."""
    left = sorted(path.glob(f"*{PARTIAL}"))
    for place in left:
        remove_tree(place)
    return [place.name[: -len(PARTIAL)] for place in left]


def partial_bytes(path: Path) -> int:
    """The room that killed runs still take, and that the next one gets."""
    files = (file for place in path.glob(f"*{PARTIAL}") for file in place.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files)


def free_label(path: Path) -> str:
    """The time now, unless that second has a dump already."""
    while True:
        label = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        if not (path / label).exists():
            return label
        time.sleep(0.1)


def surplus(dumps: list[Dump], keep: int, proven: Collection[str]) -> tuple[list[Dump], str]:
    """The dumps that retention removes, and the one beyond the number that it keeps (empty: none).

    That is the newest whose proof is known: whatever is wrong with those after it, there is one that came back.
    """
    old = dumps[:-keep] if keep else []
    spared = next((dump.label for dump in reversed(dumps) if dump.label in proven), "")
    return [dump for dump in old if dump.label != spared], spared if spared in {dump.label for dump in old} else ""


def discard(dump: Dump) -> None:
    """Remove a dump. First it loses its name, so that a removal that is interrupted leaves none that looks whole."""
    gone = dump.path.with_name(dump.label + PARTIAL)
    dump.path.rename(gone)
    sync_directory(gone.parent)
    remove_tree(gone)
