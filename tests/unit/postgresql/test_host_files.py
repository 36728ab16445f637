# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the host that travel with a backup, and what a restored one says that its host lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import host_files
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.manifest_files import CONFIG


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A host's files: a unit, a link to one that a package brings, a file that is no configuration."""
    place = tmp_path / "etc"
    place.mkdir()
    (place / "jobs").write_text("0 4 * * 0 postgres true\n")
    (place / "linked").symlink_to(place / "jobs")
    (place / "huge").write_bytes(b"x" * (host_files._LARGEST + 1))
    return place


@pytest.fixture(autouse=True)
def cron(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What `crontab -l` says."""
    said = {"now": b"@daily true\n"}
    monkeypatch.setattr(host_files, "crontab", lambda: said["now"])
    return said


def test_what_a_pattern_matches_is_taken_but_no_link_and_nothing_huge(etc: Path) -> None:
    found, warnings = host_files.collected([f"{etc}/*", f"{etc}/jobs"], "postgres")
    assert [(copy.source, copy.content) for copy in found] == [
        (f"{etc}/jobs", b"0 4 * * 0 postgres true\n"), ("crontab of postgres", b"@daily true\n"),
    ]  # fmt: skip
    assert found[0].stored == f"elsewhere{etc}/jobs"
    assert [warning.split(" is ")[0] for warning in warnings] == [f"{etc}/huge"]


def test_what_the_account_can_not_read_is_told(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_files.os, "access", lambda path, _mode: Path(path).name != "jobs")
    found, warnings = host_files.collected([f"{etc}/jobs"], "postgres")
    assert [copy.source for copy in found] == ["crontab of postgres"]
    assert warnings == [f"{etc}/jobs is not readable for postgres, and is missing from the backup"]


def test_without_a_pattern_nothing_is_looked_for() -> None:
    assert host_files.collected([], "postgres") == host_files.collected(["", "/"], "postgres") == ([], [])


def test_what_the_host_lacks_or_has_otherwise_is_told(etc: Path, tmp_path: Path, cron: dict[str, bytes]) -> None:
    data = tmp_path / "data"
    found, _warnings = host_files.collected([f"{etc}/jobs"], "postgres")
    for copy in found:
        place = data / CONFIG / copy.stored
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(copy.content)
    assert host_files.wanting(data, "postgres") == []
    (etc / "jobs").write_text("other\n")
    cron["now"] = b""
    assert host_files.wanting(data, "postgres") == [f"different: {etc}/jobs", "missing: the crontab of postgres"]
    (etc / "jobs").unlink()
    (etc / "jobs").mkdir()
    assert host_files.wanting(data, "somebody") == []
    (etc / "jobs").rmdir()
    assert host_files.wanting(data, "somebody") == [f"missing: {etc}/jobs"]
