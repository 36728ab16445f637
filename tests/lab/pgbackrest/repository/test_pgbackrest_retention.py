# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention of one full backup, and what it must not touch: the backup that was verified last, and its chain."""

from __future__ import annotations

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest import (
    PgbackrestRepository,
)
from pgbackrest_ground import Ground


@pytest.fixture(scope="module")
def keeps_one(ground: Ground) -> PgbackrestRepository:
    """The repository with a full and an incremental backup, of which it keeps one full by number."""
    ground.config("one.conf", cluster=True, **{"repo1-retention-full": "1", "compress-type": "lz4"})
    return ground.repository("one.conf")


def _labels(ground: Ground) -> list[str]:
    return [backup.label for backup in ground.call(ground.repository("one.conf").backups)]


def _take(ground: Ground, kind: str) -> str:
    label = ground.call(ground.repository("one.conf").take, kind).label
    assert isinstance(label, str)
    return label


def test_the_only_verified_backup_stays_with_its_chain_until_another_one_is(
    ground: Ground, keeps_one: PgbackrestRepository
) -> None:
    full, incremental = _labels(ground)
    second = _take(ground, "full")
    assert _labels(ground) == [full, incremental, second], "taking one expires nothing"

    stayed = ground.call(keeps_one.expire, [incremental])
    assert (stayed.removed, stayed.kept, stayed.verified) == ([], [full, incremental], incremental)
    assert f"{incremental} is the last verified backup" in stayed.reason
    assert _labels(ground) == [full, incremental, second]

    third = _take(ground, "full")
    stayed = ground.call(keeps_one.expire, ["20990101-000000F", incremental])
    assert stayed.kept == [full, incremental, second], "and so does all between, or WAL after it would be of no use"
    assert _labels(ground) == [full, incremental, second, third]

    # Older than the verified one: goes, although it was verified once.
    gone = ground.call(keeps_one.expire, [second, incremental])
    assert (gone.removed, gone.kept, gone.verified) == ([full, incremental], [second], second)
    assert _labels(ground) == [second, third]

    gone = ground.call(keeps_one.expire, [third, second])
    assert (gone.removed, gone.kept, gone.verified) == ([second], [], third)
    assert _labels(ground) == [third]
    assert ground.call(keeps_one.expire, [third]).removed == []


def test_what_stayed_can_be_restored(ground: Ground, keeps_one: PgbackrestRepository) -> None:
    last = _labels(ground)[-1]
    _take(ground, "full")
    ground.call(keeps_one.expire, [last])
    backup = ground.call(keeps_one.backups)[0]
    assert backup.label == last
    place = ground.place / "kept"
    ground.call(keeps_one.lay_down, backup, place / "data", place / "spaces")
    assert f"START WAL LOCATION: {backup.start_lsn} " in (place / "data/backup_label").read_text()


def test_without_a_verified_backup_the_number_alone_rules(ground: Ground, keeps_one: PgbackrestRepository) -> None:
    before = _labels(ground)
    newest = _take(ground, "full")
    gone = ground.call(keeps_one.expire, [])
    assert (gone.removed, gone.verified) == (before, "")
    assert "none of the repository's backups was ever verified" in gone.reason
    assert _labels(ground) == [newest]


def test_retention_that_can_not_run_is_told(ground: Ground) -> None:
    ground.config("bad.conf", cluster=True, **{"repo1-retention-full": "none"})
    with pytest.raises(OpsError, match="'none' is not valid for 'repo1-retention-full'"):
        ground.call(ground.repository("bad.conf").expire, [])
