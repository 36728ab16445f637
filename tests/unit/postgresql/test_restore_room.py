# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much room a restore asks for: the data, the WAL that recovery keeps, and less what is there already."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import restore_recover
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_beside import InPlace
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_journal import Journal, Places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_undo import undone
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

MB = 2**20
BACKUP: Any = SimpleNamespace(bytes=500 * MB)
PLAN: Any = SimpleNamespace(segments=["a segment"] * 3)
ASKED = {"backup": "latest", "target_type": "latest", "target": "", "target_timeline": "latest"}
PARAMS = {"seed": 1, "member": "primary", **ASKED}


def asked(tmp_path: Path, plan: Any = PLAN, spare: int = 0, **noted: Any) -> int:
    """How many megabytes the check wants, -1 where it does not look."""
    places = Places(tmp_path / "data")
    journal = Journal.begin(places, PARAMS)
    journal.more.update(noted)
    data_dir = places.data_dir
    server = Server(data_dir=data_dir, config_dir=data_dir, bin_dir="", port=5432, socket_dir="")
    one = InPlace(server, PARAMS, places, journal)
    one.spare_segments = spare
    one.archive = SimpleNamespace(size=16 * MB)  # type: ignore[assignment]
    try:
        one._fits(BACKUP, plan)
    except OpsError:
        assert plan is None
    return int(one.checks[-1].expected) // MB if one.checks else -1


@pytest.fixture(autouse=True)
def nothing_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=0))


def test_data_then_its_wal_then_what_the_servers_end_adds(tmp_path: Path) -> None:
    assert asked(tmp_path, None) == 500
    assert asked(tmp_path) == 548
    assert asked(tmp_path, spare=4) == 612


def test_what_a_killed_run_has_fetched_is_not_asked_for_again(tmp_path: Path) -> None:
    for place in ("data.restoring/base", "spaces/fast.restoring/PG_15"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "1").write_bytes(b"x" * 30 * MB)
    homes = {"16384": str(tmp_path / "spaces/fast")}
    assert asked(tmp_path, homes=homes) == 488, "what nobody goes on with is removed before"
    assert asked(tmp_path, homes=homes, laying=True) == 488
    assert asked(tmp_path, homes=homes, laying=True, copied=True) == 548, "it may share the old data's blocks"
    assert asked(tmp_path, homes=homes, laying=True, laid_down=True) == -1


def test_an_undo_forgets_before_it_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(config_dir=tmp_path, data_dir=tmp_path / "data", bin_dir="", port=5432, socket_dir="")
    journal = Journal.begin(Places(server.data_dir), PARAMS)
    homes = {"16384": str(tmp_path / "spaces/fast")}
    journal.save("recovered", laying=True, laid_down=True, configured=True, homes=homes, label="b")
    (tmp_path / "spaces/fast.restoring").mkdir(parents=True)
    (tmp_path / "data.restoring").mkdir()

    def killed(_place: Path) -> None:
        raise KeyboardInterrupt

    given = {"stamp": "", "lock_timeout": 0}
    with monkeypatch.context() as patched:
        patched.setattr(restore_recover, "remove_tree", killed)
        with pytest.raises(KeyboardInterrupt):
            undone(server, given, False)
    left = Journal.read(Places(server.data_dir))
    assert left is not None
    assert (left.phase, [left.more[name] for name in ("laying", "laid_down", "configured")]) == ("begun", [False] * 3)
    assert undone(server, given, False).changed
    assert [path.name for path in tmp_path.rglob("*") if path.is_dir()] == ["spaces"]
