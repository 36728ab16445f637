# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a killed clone leaves at its tablespaces' places, whenever it is killed; and what is never touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import replica_tablespaces as spaces


class Ground:
    """A data directory that is not there yet, and the place of one tablespace."""

    def __init__(self, home: Path) -> None:
        self.data, self.place = home / "data", home / "space"
        self.place.mkdir()

    def write(self) -> None:
        """What pg_basebackup does first."""
        (self.place / "PG_16_202307071/5").mkdir(parents=True)
        (self.place / "PG_16_202307071/5/16384").write_text("rows")

    def link(self) -> None:
        """What pg_basebackup does last."""
        links = spaces.beside(self.data) / "pg_tblspc"
        links.mkdir(parents=True)
        (links / "16384").symlink_to(self.place)

    def refusals(self) -> list[str]:
        preflight = Preflight()
        spaces.require_free(self.data, [str(self.place), str(self.place / "none")], preflight)
        return [reason.what for reason in preflight.reasons]

    def left(self) -> list[str]:
        return sorted(path.name for path in [*self.data.parent.iterdir(), *self.place.iterdir()])


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.mark.parametrize("killed", ["at once", "while it wrote", "when all was written", "before it was renamed"])
def test_a_killed_clone_is_cleared(ground: Ground, killed: str) -> None:
    spaces.begin(ground.data, [str(ground.place)])
    if killed != "at once":
        ground.write()
    if killed in ("when all was written", "before it was renamed"):
        ground.link()
    if killed == "before it was renamed":
        spaces.whole(ground.data)
    assert ground.refusals() == []
    spaces.begin(ground.data, [str(ground.place)])
    assert ground.left() == ["data.cloning-tablespaces", "space"]
    spaces.clear(ground.data)
    assert ground.left() == ["space"]


def test_what_nobody_cloned_is_refused_and_kept(ground: Ground) -> None:
    ground.write()
    assert ground.refusals() == [f"{ground.place}, where a tablespace of the primary goes, is not empty"]
    spaces.clear(ground.data)
    assert ground.left() == ["PG_16_202307071", "space"]


def test_of_a_clone_that_became_a_replica_nothing_is_removed(ground: Ground) -> None:
    spaces.begin(ground.data, [str(ground.place)])
    ground.write()
    ground.link()
    spaces.whole(ground.data)
    spaces.beside(ground.data).rename(ground.data)
    spaces.clear(ground.data)
    assert ground.left() == ["PG_16_202307071", "data", "space"]


def test_other_files_beside_a_clone_s_are_kept(ground: Ground) -> None:
    spaces.begin(ground.data, [str(ground.place)])
    ground.write()
    (ground.place / "lost+found").mkdir()
    spaces.clear(ground.data)
    assert ground.left() == ["lost+found", "space"]


def test_a_copy_that_still_leads_into_the_repository_is_cleared_alone(ground: Ground) -> None:
    spaces.begin(ground.data, [], copied=True)
    ground.write()
    ground.link()
    spaces.clear(ground.data)
    assert ground.left() == ["PG_16_202307071", "space"]


def test_without_tablespaces_nothing_is_noted(ground: Ground) -> None:
    spaces.begin(ground.data, [])
    assert ground.left() == ["space"]
    preflight = Preflight()
    spaces.require_free(ground.data, [], preflight)
    preflight.done()


def test_the_refusal_stops_the_clone(ground: Ground) -> None:
    ground.write()
    preflight = Preflight()
    spaces.require_free(ground.data, [str(ground.place)], preflight)
    with pytest.raises(Refused, match="is not empty"):
        preflight.done()
