# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that archives WAL, killed, raced and out of room: a segment is in the archive whole, or not at all."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate_runs import await_, kill

from tests.modules import REPO, ROOT

PROGRAM = str(REPO / "roles/backup/files/boringdb-archive-wal")
NAME = "000000010000000000000001"
SIZE = 4 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A segment."""
    path = tmp_path / "segment"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An empty archive."""
    path = tmp_path / "archive"
    path.mkdir()
    return path


def push(archive: Path, source: Path, **more: Any) -> subprocess.Popen[str]:
    """Archive the segment."""
    return subprocess.Popen([sys.executable, PROGRAM, str(archive), str(source), NAME], stderr=-1, text=True, **more)


def ended(running: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and its only line."""
    told = running.communicate(timeout=30)[1]
    assert len(told.splitlines()) <= 1, told
    return running.returncode, told


def test_the_same_again_is_fine_and_other_content_is_refused(archive: Path, source: Path) -> None:
    assert ended(push(archive, source)) == (0, "")
    assert ended(push(archive, source)) == (0, "")
    saved = source.read_bytes()
    source.write_bytes(os.urandom(SIZE))
    code, told = ended(push(archive, source))
    assert code == 1
    assert "is there with other content: does another server archive to this place?" in told
    assert {path.name: path.read_bytes() for path in archive.iterdir()} == {NAME: saved}


def test_killed_inside_and_pushed_again(archive: Path, source: Path) -> None:
    os.truncate(source, 1 << 30)
    running = push(archive, source)
    beside = archive / f".{NAME}.tmp"
    await_(lambda: beside.exists() and beside.stat().st_size, "a copy that has begun")
    kill(running.pid)
    running.communicate()
    assert not (archive / NAME).exists()
    assert beside.exists(), "it was done already: the test proves nothing"
    os.truncate(source, SIZE)
    assert ended(push(archive, source)) == (0, "")
    assert {path.name: path.read_bytes() for path in archive.iterdir()} == {NAME: source.read_bytes()}


def test_several_at_once(archive: Path, source: Path) -> None:
    with (archive / f".{NAME}.tmp").open("w") as first:
        # All of them wait here, until the one that was first gives up.
        fcntl.flock(first, fcntl.LOCK_EX)
        running = [push(archive, source) for _number in range(3)]
        await_(lambda: all(_waits(one.pid) for one in running), "three that wait")
        assert not (archive / NAME).exists()
    assert [ended(one) for one in running] == [(0, "")] * 3
    assert {path.name: path.read_bytes() for path in archive.iterdir()} == {NAME: source.read_bytes()}


def _waits(pid: int) -> bool:
    """Whether a process waits for a lock."""
    waiting = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line)
    return any(str(pid) in words for words in waiting)


@pytest.fixture
def full(archive: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if (
        not ROOT
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(archive)], check=False).returncode
    ):
        pytest.skip("only root may mount one")
    yield archive
    subprocess.run(["umount", str(archive)], check=True)


def test_a_full_disk_leaves_nothing_of_the_segment(full: Path, source: Path) -> None:
    code, told = ended(push(full, source))
    assert code == 1
    assert f"cannot archive {NAME}: [Errno 28] No space left on device" in told
    assert list(full.iterdir()) == []


def test_a_failing_write_leaves_nothing_of_the_segment(archive: Path, source: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    code, told = ended(push(archive, source, preexec_fn=limit))
    assert code == 1
    assert f"cannot archive {NAME}: [Errno 27] File too large" in told
    assert list(archive.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["here", "from"], ["here", "from", "../name"], ["here", "from", ""]])
def test_used_wrongly(words: list[str]) -> None:
    done = subprocess.run([sys.executable, PROGRAM, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: boringdb-archive-wal ARCHIVE PATH NAME\n")


def test_nothing_to_read_and_nowhere_to_write(archive: Path, source: Path) -> None:
    assert ended(push(archive, source.with_name("none")))[0] == 1
    assert list(archive.iterdir()) == []
    code, told = ended(push(archive / "none", source))
    assert (code, "No such file or directory" in told) == (1, True)
