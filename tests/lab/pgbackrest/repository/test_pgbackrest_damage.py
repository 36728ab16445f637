# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository that can't be reached, can't be read or is damaged: each is told, in one line, as what it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Damaged, OpsError
from pgbackrest_ground import STANZA, Ground, initdb


@pytest.fixture
def damaged(ground: Ground) -> Iterator[Path]:
    """A copy of the repository, to be damaged; `copy.conf` points to it."""
    ground.pgbackrest("check")
    copy = ground.place / "repo.copy"
    ground.run("cp", "-a", str(ground.repo), str(copy))
    ground.config("copy.conf", **{"repo1-path": str(copy)})
    yield copy
    shutil.rmtree(copy)


def _said(ground: Ground, config: str = "drill.conf", stanza: str = STANZA) -> str:
    with pytest.raises(OpsError) as caught:
        ground.repository(config, stanza).backups()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_repository_host_that_does_not_answer(ground: Ground) -> None:
    ground.config("far.conf", **{"repo1-host": "127.0.0.1", "repo1-host-port": "1", "repo1-host-user": "nobody"})
    assert _said(ground, "far.conf").startswith("the repository can't be reached: ")
    repository = ground.repository("far.conf")
    for act in (repository.backups_or_none, repository.archived):
        with pytest.raises(OpsError, match=r"^the repository can't be reached: .*Connection refused"):
            act()


def test_the_first_repository_that_answers_is_used(ground: Ground, tmp_path: Path) -> None:
    far = {"repo1-host": "127.0.0.1", "repo1-host-port": "1", "repo1-host-user": "nobody"}
    ground.config("two.conf", **far, **{"repo2-path": str(ground.repo), "repo2-retention-full": "9"})
    repository = ground.repository("two.conf")
    backup = ground.call(repository.backups)[0]
    assert backup.problem == ""
    name = min(repository.archived())
    repository.fetch_wal(name, tmp_path / name)
    ground.call(repository.lay_down, backup, ground.place / "two" / "data", ground.place / "two" / "spaces")
    assert "--repo=2" in repository.restore_command(ground.place / "two" / "data")
    argv = repository.restore_command(ground.place / "two" / "data").replace("%f", name).replace("%p", "/dev/null")
    ground.run("sh", "-c", argv)


def test_a_repository_that_this_account_may_not_read(ground: Ground, damaged: Path) -> None:
    damaged.chmod(0)
    with pytest.raises(OpsError, match=r"^the repository can't be reached: .*Permission denied"):
        ground.call(ground.repository("copy.conf").backups)


def test_no_such_stanza(ground: Ground) -> None:
    assert _said(ground, stanza="nope").startswith("the repository has no stanza nope")
    assert ground.repository(stanza="nope").backups_or_none() == []


def test_a_repository_whose_disk_is_not_mounted(ground: Ground, damaged: Path) -> None:
    shutil.rmtree(damaged)
    damaged.mkdir(mode=0o755)
    said = "the repository can't be reached: there is nothing where it should be; is it mounted?"
    assert _said(ground, "copy.conf") == said
    damaged.rmdir()
    assert _said(ground, "copy.conf") == said
    damaged.mkdir()


@pytest.mark.parametrize(("kind", "what"), [("archive", "the WAL archive"), ("backup", "the backups")])
def test_a_half_of_a_repository_is_gone(ground: Ground, damaged: Path, kind: str, what: str) -> None:
    shutil.rmtree(damaged / kind / STANZA)
    assert _said(ground, "copy.conf") == f"{what} can't be reached: {kind}/{STANZA} is gone from the repository"


def test_a_repository_that_is_encrypted_and_another_key(ground: Ground) -> None:
    key = {"repo1-cipher-type": "aes-256-cbc", "repo1-path": str(ground.place / "secret")}
    ground.config("right.conf", cluster=True, **key, **{"repo1-cipher-pass": "right"})
    ground.config("wrong.conf", **key, **{"repo1-cipher-pass": "wrong"})
    ground.config("none.conf", **{"repo1-path": key["repo1-path"]})
    ground.pgbackrest("stanza-create", config="right.conf")
    assert ground.call(ground.repository("right.conf").backups) == []
    for config in ("wrong.conf", "none.conf"):
        said = _said(ground, config)
        assert "can't be read: it is encrypted with another key" in said
        assert said.isprintable()


def test_an_encrypted_archive_is_read(ground: Ground, tmp_path: Path) -> None:
    """Segments and manifests come decrypted; the digest is the one of what a person would see."""
    place = ground.place / "sealed"
    key = {"repo1-cipher-type": "aes-256-cbc", "repo1-cipher-pass": "k", "repo1-path": str(place)}
    ground.config("sealed.conf", cluster=True, **key, **{"compress-type": "zst"})
    ground.pgbackrest("stanza-create", config="sealed.conf")
    name = ground.sql("SELECT pg_walfile_name(pg_switch_wal())")
    ground.pgbackrest("check")
    ground.run("pgbackrest", f"--config={ground.place}/sealed.conf", f"--stanza={STANZA}", "archive-push",
               str(_any_segment(ground, tmp_path, name)))  # fmt: skip
    repository = ground.repository("sealed.conf")
    assert list(repository.archived()) == [name]
    repository.fetch_wal(name, tmp_path / "read")
    assert (tmp_path / "read").read_bytes() == (ground.place / "carried" / name).read_bytes()


def _any_segment(ground: Ground, tmp_path: Path, name: str) -> Path:
    ground.repository().fetch_wal(name, tmp_path / name)
    place = ground.place / "carried"
    place.mkdir()
    shutil.copy(tmp_path / name, place / name)
    (place / name).chmod(0o644)
    place.chmod(0o755)
    return place / name


def test_a_missing_manifest_is_a_problem(ground: Ground, damaged: Path) -> None:
    full = ground.repository("copy.conf").backups()[0]
    (damaged / "backup" / STANZA / full.label / "backup.manifest").unlink()
    assert ground.repository("copy.conf").backups()[0].problem == "", "pgBackRest uses the copy"
    (damaged / "backup" / STANZA / full.label / "backup.manifest.copy").unlink()
    repository = ground.repository("copy.conf")
    assert repository.examined(repository.backups()[0]).problem == "its manifest is missing from the repository"


def test_verify_tells_of_a_damaged_file_of_the_backup(ground: Ground, damaged: Path) -> None:
    full, incremental = ground.repository("copy.conf").backups()[:2]
    ground.spoil(damaged / "backup" / STANZA / full.label / "pg_data/base/1/1255.lz4", 30000, b"\0\1\2\3")
    problems = ground.repository("copy.conf").verify(full)
    assert len(problems) == 1 and "checksum invalid: 1" in problems[0] and full.label in problems[0]
    assert incremental.label in "".join(ground.repository("copy.conf").verify(incremental)), "it shares the file"


def test_verify_tells_of_a_backup_that_is_gone(ground: Ground, damaged: Path) -> None:
    full = ground.repository("copy.conf").backups()[0]
    shutil.rmtree(damaged / "backup" / STANZA / full.label)
    assert full.label in "".join(ground.repository("copy.conf").verify(full))


def test_damaged_wal_is_told(ground: Ground, damaged: Path, tmp_path: Path) -> None:
    backups = ground.repository("copy.conf").backups()
    stored = sorted((damaged / "archive" / STANZA).glob("*/*/*.lz4"))[1]
    ground.spoil(stored, 2000, b"\0\1\2\3\4\5\6\7")
    with pytest.raises(OpsError, match=f"{stored.name[:24]}.* is damaged"):
        ground.repository("copy.conf").fetch_wal(stored.name[:24], tmp_path / "x")
    assert "archive" in "".join(ground.repository("copy.conf").verify(backups[0]))
    stored.write_bytes(stored.read_bytes()[:1000])
    with pytest.raises(OpsError, match="damaged"):
        ground.repository("copy.conf").fetch_wal(stored.name[:24], tmp_path / "x")


def test_wal_that_does_not_fit_its_name_is_told(ground: Ground, damaged: Path, tmp_path: Path) -> None:
    """Whole and decompressible, but of another segment."""
    one, other = sorted((damaged / "archive" / STANZA).glob("*/*/*.lz4"))[:2]
    shutil.copyfile(other, one)
    with pytest.raises(OpsError, match="its checksum differs"):
        ground.repository("copy.conf").fetch_wal(one.name[:24], tmp_path / "x")


def test_two_contents_of_one_segment_are_told(ground: Ground, damaged: Path, tmp_path: Path) -> None:
    one = min((damaged / "archive" / STANZA).glob("*/*/*.lz4"))
    shutil.copyfile(one, one.with_name(f"{one.name[:25]}{'0' * 40}.lz4"))
    with pytest.raises(OpsError, match="with 2 different contents"):
        ground.repository("copy.conf").fetch_wal(one.name[:24], tmp_path / "x")


def test_a_restore_of_a_damaged_backup_fails_in_one_line(ground: Ground, damaged: Path) -> None:
    full = ground.repository("copy.conf").backups()[0]
    (damaged / "backup" / STANZA / full.label / "pg_data/base/1/1255.lz4").unlink()
    with pytest.raises(Damaged, match=r"^a backup of stanza demo is damaged in the repository: .*1255.lz4") as caught:
        place = ground.place / "broken"
        ground.call(ground.repository("copy.conf").lay_down, full, place / "data", place / "tablespaces")
    assert "\n" not in str(caught.value)


def test_invalid_pages_surface_in_every_backup_that_holds_them(ground: Ground) -> None:
    """Before 2.60 they are warnings, and an incremental backup gives none at all."""
    ground.sql("CREATE TABLE spoilt AS SELECT generate_series(1, 50000) AS id")
    ground.sql("CHECKPOINT")
    place = ground.sql("SELECT pg_relation_filepath('spoilt')")
    ground.stop()
    ground.spoil(ground.data / place, 3 * 8192 + 4000, b"\xff" * 64)
    ground.start()
    repository = ground.repository("db.conf")
    known = len(ground.call(repository.backups))
    for backup_type in ("full", "incr"):
        with pytest.raises(OpsError, match=f"was taken, but it holds pages with invalid checksums, in {place}"):
            ground.call(repository.take, backup_type)
    assert [bool(backup.problem) for backup in ground.call(repository.backups)][known:] == [True, True]


def test_a_backup_of_an_earlier_cluster_is_not_mixed_with_the_current_archive(ground: Ground) -> None:
    """Runs last: the stanza goes on with a new cluster, whose WAL has the same names."""
    before = ground.call(ground.repository().backups)
    ground.stop()
    ground.run("mv", str(ground.data), str(ground.place / "old"))
    initdb(ground)
    ground.run("cp", str(ground.place / "old" / "postgresql.conf"), str(ground.data / "postgresql.conf"))
    ground.start()
    ground.pgbackrest("stanza-upgrade")
    label = ground.call(ground.repository("db.conf").take, "full").label
    repository = ground.repository()
    backups = ground.call(repository.backups)
    assert [backup.label for backup in backups if backup.problem == ""] == [label]
    assert "earlier cluster" in backups[0].problem
    assert len(backups) == len(before) + 1
    assert 0 < len(repository.archived()) <= 5
