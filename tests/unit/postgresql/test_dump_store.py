# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of dumps: who holds it is named also where that is another host, and only what is ours is removed."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import dump_store


def test_one_that_dumps_says_who_it_is(tmp_path: Path) -> None:
    with dump_store.locked(tmp_path, 0):
        said = json.loads((tmp_path / ".dump.lock").read_text())
    assert set(said) == {"host", "pid", "since"}


@pytest.mark.parametrize(
    ("note", "told"),
    [
        (
            '{"host": "db2", "pid": 7, "since": "2026-11-27T03:00:00Z"}',
            "on db2 (pid 7, since 2026-11-27T03:00:00Z); wait",
        ),
        ("", "on another host; wait"),
        ('["no note"]', "on another host; wait"),
    ],
)
def test_one_on_another_host_is_named(tmp_path: Path, note: str, told: str) -> None:
    """Its host's own lock is not seen here; the lock of the file is."""
    with (tmp_path / ".dump.lock").open("w+") as other:
        other.write(note)
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OpsError) as refused, dump_store.locked(tmp_path, 0):
            pass
    assert f"{tmp_path} is in use by a dump {told}" in str(refused.value)
    with dump_store.locked(tmp_path, 0):
        pass


def test_only_what_killed_dumps_left_is_removed(tmp_path: Path) -> None:
    others = ["20261127-030000F.partial", "copy.dump.partial", "20261127-030000.partial", "20261127-030000"]
    for name in (*others, "20261127-030000.dump.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("12345")
    assert dump_store.partial_bytes(tmp_path) == 5
    assert dump_store.remove_partial(tmp_path) == ["20261127-030000"]
    assert sorted(place.name for place in tmp_path.iterdir()) == sorted(others)
