# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sound repository: what is read from it is what the tools themselves say, and a cluster comes back from it."""

from __future__ import annotations

import hashlib
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal_header import header
from pgbackrest_ground import STANZA, Ground

TYPES = {"gz": b"\x1f\x8b", "bz2": b"BZh", "lz4": b"\x04\x22\x4d\x18", "zst": b"\x28\xb5\x2f\xfd", "none": b""}


def test_backups_are_what_the_cluster_and_the_manifest_say(ground: Ground) -> None:
    full, incremental = ground.call(ground.repository().backups)
    assert (full.type, incremental.type) == ("full", "incr")
    assert full.problem == incremental.problem == ""
    assert full.system_identifier == ground.sql("SELECT system_identifier FROM pg_control_system()")
    assert str(full.major) == Path(ground.bin).parent.name
    assert full.timeline == 1
    manifest = (ground.repo / "backup" / STANZA / full.label / "backup.manifest").read_bytes()
    examined = ground.call(ground.repository().examined, full)
    assert examined.manifest_sha256 == hashlib.sha256(manifest).hexdigest()
    assert f'backup-lsn-start="{full.start_lsn}"' in manifest.decode()
    assert f'backup-lsn-stop="{full.stop_lsn}"' in manifest.decode()
    stop = int(re.findall(r"backup-timestamp-stop=(\d+)", manifest.decode())[0])
    assert full.finished == datetime.fromtimestamp(stop, timezone.utc) + timedelta(seconds=1)
    assert full.started < full.finished <= incremental.started + timedelta(seconds=2)


def test_the_archive_is_listed_and_read_without_a_data_directory(ground: Ground, tmp_path: Path) -> None:
    name = ground.sql("SELECT pg_walfile_name(pg_switch_wal())")
    _await_archived(ground, name)
    repository = ground.repository()
    listed = repository.archived()
    assert name in listed and set(listed.values()) == {-1}
    repository.fetch_wal(name, tmp_path / name)
    read = header(tmp_path / name)
    assert (read.timeline, read.segment_size) == (1, 16 << 20)
    assert read.system_identifier == ground.sql("SELECT system_identifier FROM pg_control_system()")
    assert (tmp_path / name).stat().st_size == read.segment_size


@pytest.mark.parametrize("kind", TYPES)
def test_every_compression_gives_the_segment_back(ground: Ground, tmp_path: Path, kind: str) -> None:
    ground.config("db.conf", cluster=True, **{"compress-type": kind})
    try:
        ground.sql("INSERT INTO orders SELECT generate_series(1, 50000)")
        name = ground.sql("SELECT pg_walfile_name(pg_switch_wal())")
        stored = _await_archived(ground, name)
    finally:
        ground.config("db.conf", cluster=True, **{"compress-type": "lz4"})
    assert stored.read_bytes().startswith(TYPES[kind])
    assert stored.name.endswith("" if kind == "none" else f".{kind}")
    ground.repository().fetch_wal(name, tmp_path / name)
    assert hashlib.sha1((tmp_path / name).read_bytes()).hexdigest() in stored.name


def test_lay_down_gives_the_files_and_no_recovery_settings(ground: Ground) -> None:
    repository = ground.repository()
    backup = ground.call(repository.backups)[-1]
    data, spaces = ground.place / "copy" / "data", ground.place / "copy" / "spaces"
    ground.call(repository.lay_down, backup, data, spaces)
    try:
        assert not (data / "recovery.signal").exists() and not (data / "standby.signal").exists()
        assert "restore_command" not in (data / "postgresql.auto.conf").read_text()
        label = (data / "backup_label").read_text()
        assert f"START WAL LOCATION: {backup.start_lsn} " in label
        links = [link.resolve() for link in (data / "pg_tblspc").iterdir()]
        assert links == [spaces / "beside"]
        assert (data.stat().st_mode & 0o777) == 0o700
        _recovers(ground, data, repository.restore_command(data))
    finally:
        ground.run("rm", "-rf", str(data.parent))


def test_a_copy_is_laid_down_on_the_repository_s_own_host(ground: Ground) -> None:
    """Its configuration says that the cluster is elsewhere, which pgBackRest takes as a reason to refuse."""
    ground.config("vault.conf", cluster=True)
    elsewhere = ground.place / "vault.conf"
    ground.write("vault.conf", elsewhere.read_text() + "pg1-host=127.0.0.1\npg1-host-port=1\n")
    repository = ground.repository("vault.conf")
    data = ground.place / "beside" / "data"
    ground.call(repository.lay_down, ground.call(repository.backups)[0], data, data.with_name("spaces"))
    try:
        command = repository.restore_command(data).replace("%f", min(repository.archived())).replace("%p", "/dev/null")
        ground.run("sh", "-c", command)
    finally:
        ground.run("rm", "-rf", str(data.parent))


def _recovers(ground: Ground, data: Path, command: str) -> None:
    """Start the copy with the command and count what came back."""
    extra = (
        f"port = 5986\nrestore_command = '{command}'\narchive_mode = off\n"
        f"external_pid_file = ''\nunix_socket_directories = '{data.parent}'\n"
    )
    text = (data / "postgresql.conf").read_text() + extra
    script = f'cat > "$1"/postgresql.conf <<EOF\n{text}\nEOF\ntouch "$1"/recovery.signal'
    ground.run("sh", "-c", script, "sh", str(data))
    ground.run(f"{ground.bin}/pg_ctl", "start", "-w", "-D", str(data), "-l", str(data.parent / "log"))
    try:
        query = "SELECT pg_is_in_recovery(), count(*) >= 2000 FROM orders"
        argv = ["psql", "-XAtq", "-h", str(data.parent), "-p", "5986", "-U", "owner", "-d", "postgres"]
        deadline = time.monotonic() + 30
        while (said := ground.run(*argv, "-c", query).strip()) != "f|t":
            assert time.monotonic() < deadline, said
    finally:
        ground.run(f"{ground.bin}/pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(data))
        log = (data.parent / "log").read_text()
    assert "restored log file" in log


def test_the_archive_of_the_drill_reads_commits(ground: Ground, tmp_path: Path) -> None:
    ground.sql("INSERT INTO orders VALUES (-1)")
    name = ground.sql("SELECT pg_walfile_name(pg_switch_wal())")
    _await_archived(ground, name)
    archive = Archive(ground.repository(), f"{ground.bin}/pg_waldump", tmp_path / "scratch")
    assert archive.size == 16 << 20
    assert archive.commits(name)


def test_take_returns_the_new_backup(ground: Ground) -> None:
    repository = ground.repository("db.conf")
    taken = ground.call(repository.take, "incr")
    assert ground.call(repository.backups)[-1].label == taken.label


def test_verify_finds_nothing_in_a_sound_repository(ground: Ground) -> None:
    repository = ground.repository()
    for backup in ground.call(repository.backups):
        assert ground.call(repository.verify, backup) == []


def test_histories_are_listed_and_read(ground: Ground, tmp_path: Path) -> None:
    place = ground.repo / "archive" / STANZA / "15-1" / "00000002.history"
    ground.run("sh", "-c", f"printf '1\t0/5000000\twhy\n' > {place}")
    try:
        repository = ground.repository()
        assert "00000002.history" in repository.archived()
        repository.fetch_wal("00000002.history", tmp_path / "history")
        assert (tmp_path / "history").read_text() == "1\t0/5000000\twhy\n"
    finally:
        place.unlink()


def test_a_segment_that_is_not_there_is_an_error(ground: Ground, tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="00000009000000000000000A is not in archive 15-1"):
        ground.repository().fetch_wal("00000009000000000000000A", tmp_path / "x")


def _await_archived(ground: Ground, name: str) -> Path:
    deadline = time.monotonic() + 30
    place = ground.repo / "archive" / STANZA
    # pgBackRest writes beside and renames, like everybody.
    while not (found := [path for path in place.glob(f"*/*/{name}-*") if path.suffix != ".tmp"]):
        assert time.monotonic() < deadline, f"{name} was not archived"
    return found[0]
