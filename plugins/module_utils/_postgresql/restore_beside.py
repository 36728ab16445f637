# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore beside production: where its server is, which backup leads to the target, and which WAL there is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.progress import tree_bytes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Backup
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_journal import Journal, Places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import Plan, parse_time
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_planner import Planner
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_salvage import Salvaged, local_wal
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_swap import NEW, locations
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server


def beside(server: Server, places: Places) -> Server:
    """The new server, until it takes the old one's place: a plain process that only its own account reaches."""
    return Server(
        data_dir=places.restoring, config_dir=places.restoring, bin_dir=server.bin_dir, port=server.port,
        socket_dir=str(places.socket_dir), login_user=server.login_user, login_db=server.login_db,
    )  # fmt: skip


class InPlace(Planner):
    """A restore beside production. See Planner."""

    def __init__(self, server: Server, params: Params, places: Places, journal: Journal | None = None) -> None:
        self.production = server
        self.places = places
        self.journal = journal
        local = {}
        if server.exists():
            local = local_wal(server.data_dir, server.control().get("Database system identifier", ""))
        self.local = local
        # Like every server's, its own choices are made again by a run that goes on with it.
        label = journal.more.get("label") if journal else None
        super().__init__(
            beside(server, places), {**params, **({"backup": label} if label else {})},
            lambda repository: Salvaged(repository, local, places.wal),
        )  # fmt: skip

    @property
    def salvaged(self) -> Salvaged:
        """The repository with what the old data directory adds to it."""
        return cast("Salvaged", self.repository)

    def plan(self, scratch: Path) -> Plan:
        """With the newest backup that ended before the target, unless one was named."""
        if self.params["backup"] != "latest" or self.params["target_type"] in ("latest", "immediate"):
            return super().plan(scratch)
        labels = self._before_target()
        asked, noted = self.params, list(self.checks)
        for number, label in enumerate(labels):
            self.params = {**asked, "backup": label}
            try:
                return super().plan(scratch)
            except OpsError:
                outside = bool(self.checks) and self.checks[-1].name == "target_in_window"
                if not outside or number + 1 == len(labels):
                    raise
                self.checks = list(noted)
            finally:
                self.params = asked
        return super().plan(scratch)

    def _before_target(self) -> list[str]:
        """The labels of the sound backups that may lead to the target, the newest first."""
        try:
            backups = [one for one in self._open().backups() if not one.problem]
        except OpsError:
            return []
        kind, target = self.params["target_type"], self.params["target"]

        def early(backup: Backup) -> bool:
            if kind == "time":
                return backup.finished <= parse_time(target)
            return kind != "lsn" or lsn.parse(backup.stop_lsn) <= lsn.parse(target)

        return [one.label for one in reversed(backups) if early(one)]

    def _fits(self, backup: Backup, plan: Plan | None = None) -> None:
        # What a killed run has laid down already takes its room.
        if not (self.journal and self.journal.more.get("laid_down")):
            super()._fits(backup, plan)

    def _there(self) -> int:
        # Gone on with, or removed before anything is fetched. A copy of the old data may share its blocks.
        if not self.journal or self.journal.more.get("copied"):
            return 0
        homes = self.journal.more.get("homes", {}).values()
        return tree_bytes(self.places.restoring, *(Path(home + NEW) for home in homes))

    def later(self, homes: Mapping[str, str]) -> list[Path]:
        """Where the tablespaces lie that were made after the backup."""
        ending = f".before-{self.journal.stamp}" if self.journal else ""
        noted = [Path(place) for place in (self.journal.more.get("later", []) if self.journal else [])]
        now = locations(self.production.data_dir)
        known = {Path(home) for home in homes.values()}
        found = [place for oid, place in now.items() if oid not in homes and place not in known]
        return [*noted, *(place for place in found if place not in noted and not place.name.endswith(ending))]

    def homes(self, backup: Backup) -> dict[str, Path]:
        """Where each tablespace of the backup belongs: where it is now, else where it was, else beside the data."""
        now = locations(self.production.data_dir)
        was = self.repository.tablespaces(backup)
        return {oid: now.get(oid) or Path(place or self.places.tablespaces / oid) for oid, place in was.items()}
