"""Faults of the repository: what bit rot, a lost file or a wrong mount does to backups and archived WAL."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.fault import fault, signs
from tests.faults.ground import Ground
from tests.faults.supplies import Variables


@fault(
    "a byte flipped in a table's file of the backup", "backup_bytes", "relations_readable", "page_checksums",
    says=r"checksum mismatch",
    lab=signs(r"is damaged in the repository: .*lz4 error: ", "backup_bytes"),
)  # fmt: skip
def data_byte_flipped(ground: Ground) -> Iterator[Variables]:
    with ground.field.flipped("shop.note") as own:
        yield own


@fault(
    "a table's file missing from the backup", "backup_bytes", "relations_readable",
    says=r"is present in the manifest but not",
    lab=signs(r"is damaged in the repository: .*missing file '\S*/base/", "backup_bytes"),
)  # fmt: skip
def relation_file_missing(ground: Ground) -> Iterator[Variables]:
    with ground.field.without("shop.note") as own:
        yield own


@fault(
    "the backup's manifest missing", "backup_complete", says=r"incomplete: .*no backup_manifest",
    lab=signs(r"can't be restored: its manifest is missing", "backup_complete"),
)  # fmt: skip
def backup_manifest_missing(ground: Ground) -> Iterator[Variables]:
    with ground.field.without_manifest() as own:
        yield own


@fault(
    "only the leftover of a killed backup in the repository", "backup_complete", says=r"\.partial: incomplete",
    lab=signs(r"no complete backup in the repository", "backup_complete"),
)  # fmt: skip
def backup_partial(ground: Ground) -> Iterator[Variables]:
    with ground.field.unfinished() as own:
        yield own


@fault("the repository is not there: its path was renamed", "repository", says=r"the repository can't be reached")
def repository_unreachable(ground: Ground) -> Iterator[Variables]:
    with ground.field.unreachable() as own:
        yield own


@fault("the WAL archive is not there", "repository", says=r"the WAL archive can't be reached")
def archive_unreachable(ground: Ground) -> Iterator[Variables]:
    with ground.field.without_archive() as own:
        yield own


@fault("a WAL segment missing from the middle of the archive", "wal_continuity", says=r"[0-9A-F]{24} is missing")
def wal_missing(ground: Ground) -> Iterator[Variables]:
    with ground.field.without_segment(1) as own:
        yield own


@fault(
    "a WAL segment truncated to a half",
    "wal_continuity",
    says=r"[0-9A-F]{24} is truncated to 8388608 of 16777216 bytes",
    lab=signs(r"unable to get [0-9A-F]{24}: \| repo1: .*Error\]", "target_reached", "before_target"),
)
def wal_truncated(ground: Ground) -> Iterator[Variables]:
    with ground.field.truncated_segment(1) as own:
        yield own


@fault(
    "a byte flipped in a WAL segment, in a row before the last commits", "target_reached", "before_target",
    says=r"recovery ended at [0-9A-F/]+, before [0-9A-F/]+: .*checksum",
    lab=signs(r"unable to get [0-9A-F]{24}: \| repo1: .*lz4 error: ", "target_reached", "before_target"),
)  # fmt: skip
def wal_byte_flipped(ground: Ground) -> Iterator[Variables]:
    with ground.field.flipped_segment(2) as own:
        yield own


@fault(
    "a byte flipped in the last WAL segment",
    "wal_continuity",
    says=r"WAL segment [0-9A-F]{24} is damaged: .*checksum",
    lab=signs(r"[0-9A-F]{24}-\S+ is damaged: ", "wal_continuity"),
)
def wal_byte_flipped_last(ground: Ground) -> Iterator[Variables]:
    with ground.field.flipped_segment(-1) as own:
        yield own


@fault(
    "a WAL segment overwritten with zeros", "target_reached", "before_target",
    says=r"recovery ended at [0-9A-F/]+, before [0-9A-F/]+",
)  # fmt: skip
def wal_zeroed(ground: Ground) -> Iterator[Variables]:
    with ground.field.zeroed_segment(2) as own:
        yield own


@fault("the backup is of another cluster", "cluster_identity", says=r"backup \S+ is of another cluster \(identity")
def backup_of_another_cluster(ground: Ground) -> Iterator[Variables]:
    with ground.field.foreign_backup() as own:
        yield own


@fault("the newest WAL segment is another cluster's", "wal_continuity", says=r"[0-9A-F]{24} is of another cluster")
def wal_of_another_cluster(ground: Ground) -> Iterator[Variables]:
    with ground.field.foreign_segment(-1) as own:
        yield own


@fault(
    "a WAL segment before the target is another cluster's", "target_reached", "before_target",
    says=r"recovery ended at .*different database system",
)  # fmt: skip
def wal_of_another_cluster_between(ground: Ground) -> Iterator[Variables]:
    with ground.field.foreign_segment(2) as own:
        yield own
