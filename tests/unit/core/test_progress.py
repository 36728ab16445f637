# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress: what a module notes while it works, and the line that is made of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.progress import VARIABLE, noted, tree_bytes
from ansible_collections.boringdb.ops.plugins.plugin_utils import progress
from ansible_collections.boringdb.ops.plugins.plugin_utils.progress import line, wanted


def _await_note(place: Path) -> dict[str, object]:
    until = time.monotonic() + 10
    while not (place.exists() and place.read_text().strip()):
        assert time.monotonic() < until
        time.sleep(0.01)
    note: dict[str, object] = json.loads(place.read_text())
    return note


def test_a_note_is_there_while_the_work_is_and_not_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "note"
    monkeypatch.setenv(VARIABLE, str(place))
    with noted("data", lambda: 10, lambda: 4):
        note = _await_note(place)
    assert (note["phase"], note["done"], note["total"]) == ("data", 4, 10)
    assert not place.exists()


def test_nothing_is_measured_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with noted("data", lambda: pytest.fail("asked"), lambda: pytest.fail("asked")):
        pass


def test_what_can_not_be_told_stops_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    kept.write_text("of somebody else")
    link = tmp_path / "link"
    link.symlink_to(kept)
    monkeypatch.setenv(VARIABLE, str(link))
    with pytest.raises(ValueError, match="the work's own"), noted("data", lambda: 1 // 0):
        raise ValueError("the work's own")
    assert kept.read_text() == "of somebody else"


def test_the_bytes_of_trees(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one").write_bytes(b"1")
    (tmp_path / "a/b/two").write_bytes(b"22")
    assert tree_bytes(tmp_path / "a", tmp_path / "none") == 3


NOTE = {"phase": "data", "done": 430_000_000, "total": 1_000_000_000, "seconds": 10.0}


@pytest.mark.parametrize(
    ("note", "earlier", "said"),
    [
        (NOTE, None, "backup orders: data 43%, 43.0 MB/s, 0:13 left"),
        (NOTE, {**NOTE, "done": 330_000_000, "seconds": 9.0}, "backup orders: data 43%, 100 MB/s, 0:05 left"),
        # Another phase's figures say nothing of this one.
        (NOTE, {**NOTE, "phase": "recovery", "done": 1}, "backup orders: data 43%, 43.0 MB/s, 0:13 left"),
        ({**NOTE, "done": 2_000_000_000}, None, "backup orders: data 99%, 200 MB/s, 0:00 left"),
        ({**NOTE, "done": 0}, None, "backup orders: data 0%"),
        ({**NOTE, "total": 0}, None, "backup orders: data for 0:10, 430 MB"),
        ({**NOTE, "total": 0, "done": 0, "seconds": 3725}, None, "backup orders: data for 1:02:05"),
    ],
)
def test_a_line(note: dict[str, object], earlier: dict[str, object] | None, said: str) -> None:
    assert line("backup orders", note, earlier) == said


@pytest.mark.parametrize(
    ("choice", "transport", "terminal", "job", "shown"),
    [
        ("auto", "ssh", False, False, False),
        ("auto", "ssh", True, False, True),
        ("auto", "local", False, True, True),
        ("on", "ssh", False, False, True),
        (True, "ssh", False, False, True),
        ("off", "ssh", True, True, False),
        (False, "ssh", True, True, False),
        # Of others it is not known whether two commands at a time are safe.
        ("on", "winrm", True, True, False),
    ],
)
def test_where_it_is_shown(
    choice: object, transport: str, terminal: bool, job: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_TERMINAL", terminal)
    monkeypatch.setattr(progress, "_JOB", job)
    assert wanted(choice, transport) is shown
