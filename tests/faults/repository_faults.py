"""Faults of the repository: what bit rot, a lost file or a wrong mount does to backups and archived WAL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.faults.fault import Variables, fault
from tests.faults.ground import Ground
from tests.faults.process import PROGRAMS, Broken, run


def flip(path: Path, offset: int) -> None:
    """Turn all bits of one byte over."""
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte[0] ^ 0xFF]))


def record_offset(segment: Path) -> int:
    """Where, in a WAL segment, the data of a row that was inserted in it stands."""
    shown = run(PROGRAMS / "pg_waldump", "-p", segment.parent, "-r", "Heap", segment.name, check=False).stdout
    rows = re.findall(r"rmgr: Heap .*lsn: [0-9A-F]+/([0-9A-F]+), .*desc: INSERT", shown)
    if not rows:
        raise Broken(f"{segment} holds no inserted row")
    # Past the record's header, whose damage would look like the end of the log.
    return int(rows[len(rows) // 2], 16) % (16 << 20) + 30


@fault(
    "a byte flipped in a table's file of the backup", "backup_bytes", "relations_readable", "page_checksums",
    says=r"checksum mismatch",
)  # fmt: skip
def data_byte_flipped(ground: Ground) -> Iterator[Variables]:
    path = ground.field_backup / ground.relation_file("shop.note")
    flip(path, 8192 * 3 + 5000)
    yield {}
    flip(path, 8192 * 3 + 5000)


@fault("a table's file missing from the backup", "backup_bytes", "relations_readable", says=r"is present in the manifest but not")
def relation_file_missing(ground: Ground) -> Iterator[Variables]:
    path = ground.field_backup / ground.relation_file("shop.note")
    aside = ground.home / "aside"
    path.rename(aside)
    yield {}
    aside.rename(path)


@fault("a WAL segment missing from the middle of the archive", "wal_continuity", says=r"[0-9A-F]{24} is missing")
def wal_missing(ground: Ground) -> Iterator[Variables]:
    segment = ground.field_segments()[1]
    aside = ground.home / "aside"
    segment.rename(aside)
    yield {}
    aside.rename(segment)
