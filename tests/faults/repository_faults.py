"""Faults of the repository: what bit rot, a lost file or a wrong mount does to backups and archived WAL."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.faults.fault import fault
from tests.faults.ground import Ground, Variables
from tests.faults.process import PROGRAMS, Broken, await_, module, run


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


@fault(
    "a table's file missing from the backup",
    "backup_bytes",
    "relations_readable",
    says=r"is present in the manifest but not",
)
def relation_file_missing(ground: Ground) -> Iterator[Variables]:
    path = ground.field_backup / ground.relation_file("shop.note")
    aside = ground.home / "aside"
    path.rename(aside)
    yield {}
    aside.rename(path)


@fault("the backup never finished: no backup_manifest", "backup_complete", says=r"incomplete: .*no backup_manifest")
def backup_manifest_missing(ground: Ground) -> Iterator[Variables]:
    path = ground.field_backup / "backup_manifest"
    path.rename(ground.home / "aside")
    yield {}
    (ground.home / "aside").rename(path)


@fault("only the leftover of a killed backup in the repository", "backup_complete", says=r"\.partial: incomplete")
def backup_partial(ground: Ground) -> Iterator[Variables]:
    whole = ground.field_backup
    partial = whole.with_name(f"{whole.name}.partial")
    whole.rename(partial)
    yield {}
    partial.rename(whole)


@fault("the repository is not there: its path was renamed", "repository", says=r"the repository can't be reached")
def repository_unreachable(ground: Ground) -> Iterator[Variables]:
    aside = ground.home / "aside"
    ground.field.rename(aside)
    yield {}
    aside.rename(ground.field)


@fault("the WAL archive is not there", "repository", says=r"the WAL archive can't be reached")
def archive_unreachable(ground: Ground) -> Iterator[Variables]:
    aside = ground.home / "aside"
    (ground.field / "wal").rename(aside)
    yield {}
    aside.rename(ground.field / "wal")


@fault("a WAL segment missing from the middle of the archive", "wal_continuity", says=r"[0-9A-F]{24} is missing")
def wal_missing(ground: Ground) -> Iterator[Variables]:
    segment = ground.field_segments()[1]
    aside = ground.home / "aside"
    segment.rename(aside)
    yield {}
    aside.rename(segment)


@fault(
    "a WAL segment truncated to a half",
    "wal_continuity",
    says=r"[0-9A-F]{24} is truncated to 8388608 of 16777216 bytes",
)
def wal_truncated(ground: Ground) -> Iterator[Variables]:
    segment = ground.field_segments()[1]
    with segment.open("r+b") as stream:
        stream.truncate(8 << 20)
    yield {}
    shutil.copyfile(ground.pristine / "wal" / segment.name, segment)


@fault(
    "a byte flipped in a WAL segment, in a row before the last commits", "target_reached", "before_target",
    says=r"recovery ended at [0-9A-F/]+, before [0-9A-F/]+: .*checksum",
)  # fmt: skip
def wal_byte_flipped(ground: Ground) -> Iterator[Variables]:
    segment = ground.field_segments()[2]
    offset = record_offset(segment)
    flip(segment, offset)
    yield {}
    flip(segment, offset)


@fault(
    "a byte flipped in the last WAL segment", "wal_continuity", says=r"WAL segment [0-9A-F]{24} is damaged: .*checksum"
)
def wal_byte_flipped_last(ground: Ground) -> Iterator[Variables]:
    segment = ground.field_segments()[-1]
    offset = record_offset(segment)
    flip(segment, offset)
    yield {}
    flip(segment, offset)


@fault(
    "a WAL segment overwritten with zeros", "target_reached", "before_target",
    says=r"recovery ended at [0-9A-F/]+, before [0-9A-F/]+",
)  # fmt: skip
def wal_zeroed(ground: Ground) -> Iterator[Variables]:
    segment = ground.field_segments()[2]
    with segment.open("r+b") as stream:
        stream.write(bytes(16 << 20))
    yield {}
    shutil.copyfile(ground.pristine / "wal" / segment.name, segment)


@fault("the backup is of another cluster", "cluster_identity", says=r"backup \S+ is of another cluster \(identity")
def backup_of_another_cluster(ground: Ground) -> Iterator[Variables]:
    with another_cluster(ground) as repository:
        yield {"db_backup_path": str(repository / "backup"), "db_wal_path": str(repository / "wal")}


@fault("the newest WAL segment is another cluster's", "wal_continuity", says=r"[0-9A-F]{24} is of another cluster")
def wal_of_another_cluster(ground: Ground) -> Iterator[Variables]:
    with another_cluster(ground) as repository:
        yield from exchanged(ground, ground.field_segments()[-1], repository)


@fault(
    "a WAL segment before the target is another cluster's", "target_reached", "before_target",
    says=r"recovery ended at .*different database system",
)  # fmt: skip
def wal_of_another_cluster_between(ground: Ground) -> Iterator[Variables]:
    with another_cluster(ground) as repository:
        yield from exchanged(ground, ground.field_segments()[2], repository)


def exchanged(ground: Ground, segment: Path, repository: Path) -> Iterator[Variables]:
    """A segment of the same name from another cluster's archive, as when two clusters archive to one place."""
    shutil.copyfile(repository / "wal" / segment.name, segment)
    yield {}
    shutil.copyfile(ground.pristine / "wal" / segment.name, segment)


@contextlib.contextmanager
def another_cluster(ground: Ground) -> Iterator[Path]:
    """A second cluster with a repository of its own; yields that, with the cluster stopped again."""
    place = ground.home / "other"
    repository = place / "repository"
    server = {
        **ground.server,
        "data_dir": str(place / "data"),
        "socket_dir": str(place / "run"),
        "port": ground.first_port + 7,
    }
    run("mkdir", "-p", place / "run", repository / "backup", repository / "wal")
    module("instance", state="initialized", **server)
    settings = {
        "port": server["port"], "unix_socket_directories": str(place / "run"), "archive_mode": "on",
        "archive_command": f'{ground.home}/bin/boringdb-archive-wal {repository}/wal "%p" "%f"',
    }  # fmt: skip
    rules = [{"type": "local", "database": name, "user": "all", "method": "trust"} for name in ("all", "replication")]
    module("config", settings=settings, hba=rules, **server)
    module("instance", state="started", **server)
    try:
        places = {"backup_path": str(repository / "backup"), "wal_path": str(repository / "wal")}
        module("backup", tool="native", **places, **server)
        # As far as the first cluster's log, so that there is a segment of each name.
        newest = ground.field_segments()[-1].name
        where = ["-h", str(place / "run"), "-p", str(server["port"]), "-U", "postgres", "-d", "postgres", "-XAtq"]
        ask = "SELECT pg_create_restore_point('on'); SELECT pg_walfile_name(pg_switch_wal())"
        while run(PROGRAMS / "psql", *where, "-c", ask).stdout.split()[-1] < newest:
            pass
        await_((repository / "wal" / newest).exists, f"the archiving of the other {newest}")
    finally:
        module("instance", state="stopped", stop_mode="fast", **server)
    try:
        yield repository
    finally:
        shutil.rmtree(place)
