# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where logical dumps lie: one directory each, made beside and renamed, with a manifest that says all that is in it."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import socket
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
#: A dump that is being written or removed, or whose worker died.
PARTIAL = ".dump.partial"
SCHEMA_VERSION = 1
_LOCK = ".dump.lock"
_LABEL = re.compile(r"\d{8}-\d{6}")
SHUT_OUT_REMEDY = "give the account the same number on every host that mounts it"


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
    if not path.is_dir():
        raise OpsError(f"refused: there is no directory {path} (mount it on this host, or correct dump_path)")
    shut = unreadable(path)
    if shut and (label == "latest" or label in shut or shut == ["."]):
        raise OpsError(f"refused: {shut_out(path, shut)} ({SHUT_OUT_REMEDY})")
    there = dumps_in(path)
    if not there:
        raise OpsError(f"refused: {path} holds no whole dump (take one first, with the playbook dump)")
    if label == "latest":
        return there[-1]
    for dump in there:
        if dump.label == label:
            return dump
    newest = ", ".join(dump.label for dump in there[-3:])
    raise OpsError(f"refused: {path} holds no whole dump {label} (the newest are {newest})")


def unreadable(path: Path, writing: bool = False) -> list[str]:
    """What this account can't open, for it had another number where it was made; for one that writes, the lock, too."""
    if not os.access(path, os.R_OK | os.X_OK):
        return ["."]

    def shut(place: Path) -> bool:
        listed = os.access(place, os.R_OK | os.X_OK)
        return not listed or ((place / MANIFEST).exists() and not os.access(place / MANIFEST, os.R_OK))

    found = sorted(place.name for place in path.iterdir() if _LABEL.fullmatch(place.name) and shut(place))
    lock = path / _LOCK
    return found + ([_LOCK] if writing and lock.exists() and not os.access(lock, os.R_OK | os.W_OK) else [])


def shut_out(path: Path, names: list[str]) -> str:
    """What to say of them."""
    place = path / names[0]
    return f"{place} can't be read by {getpass.getuser()} (uid {os.geteuid()}), it belongs to uid {place.stat().st_uid}"


@contextlib.contextmanager
def locked(path: Path, wait_seconds: float) -> Iterator[None]:
    """One dump at a time into a directory, also from several hosts that mount it: locks of files reach over NFS."""
    with host_lock(str(path), "dump", wait_seconds):
        handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            lock_within(handle, wait_seconds, lambda: _in_use(path))
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            note = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since}).encode()
            os.ftruncate(handle, 0)
            os.pwrite(handle, note, 0)
            yield
        finally:
            os.close(handle)


def _in_use(path: Path) -> str:
    """Who dumps there, from a host on which nobody has this host's lock."""
    who = "another host"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads((path / _LOCK).read_text())
        who = f"{said['host']} (pid {said['pid']}, since {said['since']})"
    return (
        f"{path} is in use by a dump on {who}; wait for it to end or set lock_timeout (of a host that lost its power "
        "the file server keeps the lock for a while)"
    )


def _left(path: Path) -> list[Path]:
    """What killed runs left; nothing else is ever removed, whatever somebody has put there."""
    found = (place for place in path.glob(f"*{PARTIAL}") if _LABEL.fullmatch(place.name[: -len(PARTIAL)]))
    return sorted(found)


def remove_partial(path: Path) -> list[str]:
    """Remove what killed runs left, under the lock that says that it is nobody's. Returns their labels."""
    left = _left(path)
    for place in left:
        remove_tree(place)
    return [place.name[: -len(PARTIAL)] for place in left]


def partial_bytes(path: Path) -> int:
    """The room that killed runs still take, and that the next one gets."""
    files = (file for place in _left(path) for file in place.rglob("*") if file.is_file())
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
