# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a directory is the same whether one program makes it or several."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import copy_tree as tested
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Directories, empty and nested ones, with awkward names, modes, times and links."""
    place = tmp_path / "source"
    for name, mode in (("base/1", 0o700), ("pg_notify", 0o750), ("pg_tblspc", 0o700), ("an odd\nname", 0o755)):
        (place / name).mkdir(parents=True)
        (place / name).chmod(mode)
    for number in range(450):
        (place / "base/1" / str(number)).write_bytes(os.urandom(number))
    (place / "an odd\nname" / "-rf 'x'").write_text("kept")
    (place / "PG_VERSION").write_text("16\n")
    (place / "PG_VERSION").chmod(0o640)
    os.utime(place / "PG_VERSION", (1, 1))
    (place / "pg_tblspc/16401").symlink_to("/nowhere")
    (place / "pg_tblspc/16402").symlink_to(tmp_path)
    return place


def _seen(place: Path) -> dict[str, tuple[int, object]]:
    found: dict[str, tuple[int, object]] = {}
    for one in place.rglob("*"):
        mode = one.lstat().st_mode
        content: object = one.readlink() if one.is_symlink() else None if one.is_dir() else one.read_bytes()
        found[str(one.relative_to(place))] = (mode, content)
    return found


@pytest.mark.parametrize("large", [1, 200, 1 << 20])
def test_it_is_the_same_by_several_programs(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(tested, "_LARGE", large)
    for name, small in (("one", 1 << 40), ("several", 0)):
        tested.copy_tree(source, tmp_path / name, small)
        assert _seen(tmp_path / name) == _seen(source)
        assert (tmp_path / name / "PG_VERSION").stat().st_mtime == 1


def test_what_is_in_the_target_stays(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/marker").write_text("mine")
    tested.copy_tree(source, tmp_path / "copy", 0)
    assert (tmp_path / "copy/marker").read_text() == "mine"
    assert (tmp_path / "copy/base/1/449").stat().st_size == 449


@pytest.mark.parametrize("small", [0, 1 << 40])
def test_a_file_that_can_not_be_copied_is_told_in_one_line(source: Path, tmp_path: Path, small: int) -> None:
    (tmp_path / "copy/base/1/17").mkdir(parents=True)
    with pytest.raises(OpsError, match=r"exited \d+: cp: cannot overwrite directory .*base/1/17") as told:
        tested.copy_tree(source, tmp_path / "copy", small)
    assert "\n" not in str(told.value)


def test_several_are_at_work_at_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[list[str]] = []

    def seen(argv: list[str], **more: object) -> object:
        words.append(argv)
        return run(argv, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(tested, "run", seen)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    tested.copy_tree(source, tmp_path / "copy", 0)
    assert [argv[argv.index("-P") + 1] for argv in words] == ["4"]


@pytest.mark.parametrize("small", [0, 1 << 40])
def test_a_folder_that_can_not_be_listed_is_not_left_out(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    real = os.scandir

    def failing(place: str) -> object:
        if str(place).endswith("base/1"):
            raise OSError(5, "Input/output error", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(OpsError, match="base/1 can't be copied: Input/output error"):
        tested.copy_tree(source, tmp_path / "copy", small)
