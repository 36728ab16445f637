# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole or not there, also when the machine stops in the middle of a write."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import files


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file with old content, alone in its directory."""
    place = tmp_path / "conf"
    place.mkdir()
    (place / "file").write_text("old")
    return place / "file"


def test_a_write_replaces_content_and_mode(target: Path) -> None:
    target.chmod(0o600)
    files.write_atomic(target, "new ü\n", 0o644)
    assert target.read_text(encoding="utf-8") == "new ü\n"
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_the_mode_does_not_depend_on_the_umask(target: Path) -> None:
    old = os.umask(0o077)
    try:
        files.write_atomic(target.with_name("fresh"), "", 0o644)
    finally:
        os.umask(old)
    assert target.with_name("fresh").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_crash_before_the_rename_leaves_the_old_content(
    target: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def crash(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, crash)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_content_is_durable_before_it_is_seen_and_the_rename_after(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []
    real = os.fsync

    def spy(handle: int) -> None:
        seen.append((str(Path(f"/proc/self/fd/{handle}").readlink()), target.read_text()))
        real(handle)

    monkeypatch.setattr(os, "fsync", spy)
    files.write_atomic(target, "new")
    (first, before), (second, after) = seen
    assert (Path(first).parent, before) == (target.parent, "old")
    assert first != str(target)
    assert (second, after) == (str(target.parent), "new")


def test_what_is_not_there_reads_as_nothing(tmp_path: Path) -> None:
    assert files.read_text(tmp_path / "none") == ""
    with pytest.raises(IsADirectoryError):
        files.read_text(tmp_path)


def test_sha256(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert files.sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_empty_places(tmp_path: Path) -> None:
    assert files.is_empty(tmp_path / "none")
    assert files.is_empty(tmp_path)
    (tmp_path / ".hidden").touch()
    assert not files.is_empty(tmp_path)
    assert not files.is_empty(tmp_path / ".hidden")  # a file is in the way of a directory


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/below/link").symlink_to(tmp_path / "kept")
    assert files.remove_tree(tmp_path / "link") is True
    assert files.remove_tree(tmp_path / "tree") is True
    assert files.remove_tree(tmp_path / "tree") is False
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept/file").exists()


def test_wiped_files_hold_zeros_and_what_has_another_name_is_left(tmp_path: Path) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    large, shared = tmp_path / "tree/below/large", tmp_path / "tree/shared"
    large.write_bytes(b"x" * 2_500_000)
    shared.write_bytes(b"of two")
    (tmp_path / "elsewhere").hardlink_to(shared)
    (tmp_path / "tree/link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_bytes(b"of somebody else")
    assert files.wipe(tmp_path / "tree") == 2_500_000
    assert large.read_bytes() == bytes(2_500_000)
    assert (tmp_path / "elsewhere").read_bytes() == b"of two"
    assert (tmp_path / "outside").read_bytes() == b"of somebody else"
    assert files.wipe(large) == 2_500_000
    assert files.wipe(tmp_path / "nothing") == 0
