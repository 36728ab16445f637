# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incremental backups of pg_basebackup: what builds on what, how large it becomes, and the whole that it makes.

The engine's own files tell. The `backup_label` of an incremental names the position that its prior backup begins at,
which is what pg_combinebackup goes by, too: so those that somebody took by hand are chains as well.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn

#: A backup that is being taken, or whose worker died; never offered for a restore.
PARTIAL = ".partial"
#: How the problem of a backup begins whose chain is not whole.
BROKEN = "its chain is broken"

_BEGINS = re.compile(r"^START WAL LOCATION: (\S+) .*^START TIMELINE: (\d+)$", re.MULTILINE | re.DOTALL)
_BUILDS_ON = re.compile(r"^INCREMENTAL FROM LSN: (\S+)\nINCREMENTAL FROM TLI: (\d+)$", re.MULTILINE)
_IDENTITY = re.compile(rb'"System-Identifier": (\d+)')
_CHECKSUM = b'"Manifest-Checksum": "'
#: A file of which an incremental backup holds only some blocks, and how it begins: magic, blocks, blocks at least.
_PREFIX = "INCREMENTAL."
_HEADER = struct.Struct("=III")
_MAGIC = 0xD3AE1F0D


def _position(label: str, pattern: re.Pattern[str]) -> tuple[int, int] | None:
    """A position and its timeline in a backup_label."""
    found = pattern.search(label)
    return (lsn.parse(found.group(1)), int(found.group(2))) if found else None


def is_incremental(place: Path) -> bool:
    """Whether a backup holds only what changed since another one."""
    return _BUILDS_ON.search(read_text(place / "backup_label")) is not None


def _identity(place: Path) -> bytes:
    """The system identifier in a backup's manifest, which has one from version 17 on."""
    try:
        with (place / "backup_manifest").open("rb") as stream:
            found = _IDENTITY.search(stream.read(256))
    except OSError:
        return b""
    return found.group(1) if found else b""


def prior(place: Path) -> Path | None:
    """The backup that the one at `place` builds on, None for a full one. Raises OpsError where it is not there."""
    label = read_text(place / "backup_label")
    base = _position(label, _BUILDS_ON)
    if base is None:
        return None
    own = _position(label, _BEGINS)
    for other in sorted(place.parent.iterdir()):
        if other.name.startswith(".") or other.name.endswith(PARTIAL) or own is None or base[0] >= own[0]:
            continue
        begins = _position(read_text(other / "backup_label"), _BEGINS) if other.is_dir() else None
        if begins == base and _identity(other) == _identity(place):
            return other
    where = f"{lsn.text(base[0])} on timeline {base[1]}"
    raise OpsError(f"{BROKEN}: the backup from {where}, on which {place.name} builds, is not there")


def chain(place: Path) -> list[Path]:
    """The backups that make up the one at `place`: a full one first, itself last. Raises OpsError where one is gone."""
    found = [place]
    while True:
        before = prior(found[0])
        if before is None:
            return found
        found.insert(0, before)


def read_manifest(place: Path) -> dict[str, Any]:
    """A backup's manifest. Raises OpsError where it is not as the engine wrote it."""
    raw = (place / "backup_manifest").read_bytes()
    said, mark, rest = raw.rpartition(_CHECKSUM)
    if not mark or hashlib.sha256(said).hexdigest().encode() != rest[:64]:
        raise OpsError("altered: backup_manifest does not have the checksum that it names")
    content: dict[str, Any] = json.loads(raw)
    return content


def restored_bytes(place: Path, manifest: Mapping[str, Any], block: int) -> int:
    """The size of a backup when restored, without its WAL. Of an incremental's files their heads tell."""
    total = 0
    for file in manifest["Files"]:
        whole = not file.get("Path", "").rpartition("/")[2].startswith(_PREFIX)
        total += file["Size"] if whole else _blocks(place / file["Path"]) * block
    return total


def _blocks(path: Path) -> int:
    """How many blocks a file has that an incremental backup holds only some of."""
    with path.open("rb") as stream:
        magic, count, least = _HEADER.unpack(stream.read(_HEADER.size))
        numbers = struct.unpack(f"={count}I", stream.read(4 * count)) if magic == _MAGIC else ()
    if magic != _MAGIC:
        raise OpsError(f"altered: {path.name} is no file of an incremental backup")
    return max([int(least), *(int(number) + 1 for number in numbers)])


def altered(members: Iterable[Path]) -> str:
    """The first file of a chain that is missing or has another size than its manifest names; empty where all are right.

    This reads no content: that is pg_verifybackup's.
    """
    for place in members:
        for file in read_manifest(place)["Files"]:
            name = file.get("Path")
            try:
                size = (place / name).stat().st_size if name else file["Size"]
            except OSError:
                return f"{BROKEN}: {name} is missing in {place.name}"
            if size != file["Size"]:
                return f"{BROKEN}: {name} has {size} bytes in {place.name}, its manifest says {file['Size']}"
    return ""


def tablespace_mapping(old: str, new: str) -> str:
    """The option of pg_basebackup and pg_combinebackup that puts a tablespace elsewhere."""
    return "--tablespace-mapping=" + "=".join(place.replace("=", "\\=") for place in (old, new))


def combine(
    program: Callable[[str], str], members: list[Path], data_dir: Path, place_of: Callable[[str], Path]
) -> None:
    """Put together what the members of a chain are, at `data_dir`. `place_of` tells where a tablespace goes by its OID.

    It copies: a link would let the restored server write into the repository. What it wrote is synced, and then
    compared with its new manifest, in which files that were taken over whole keep the checksum of their backup.
    """
    argv = [program("pg_combinebackup"), "-o", str(data_dir)]
    spaces = members[-1] / "pg_tblspc"
    for link in sorted(spaces.iterdir()) if spaces.is_dir() else []:
        if link.is_symlink():
            place = place_of(link.name)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            argv.append(tablespace_mapping(str(link.readlink()), str(place)))
    run([*argv, *map(str, members)], guarded=True)
    run([program("pg_verifybackup"), "--quiet", "--no-parse-wal", str(data_dir)], guarded=True)
