# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of checks as it grows, and what all checks know of the server under examination."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import Check, verdict
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.page_lsn import page_position
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

#: Checks that exist whatever the options are; those of the user's own are `invariant:NAME` and `canary:NAME`.
NAMES = (
    "backup_bytes", "relations_readable", "relations_exact", "relations_bounded", "sequences", "databases", "roles",
    "schemas", "extensions", "functions", "grants", "settings", "collations", "expected_objects", "heartbeat",
    "structure", "page_checksums",
)  # fmt: skip
_SHOWN = 5


def few(names: Iterable[str], count: int = _SHOWN) -> str:
    """The first few of some names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


class Report:
    """Collects checks; decides for each whether it is required."""

    def __init__(self, required: Iterable[str], optional: Iterable[str]) -> None:
        self.required, self.optional = set(required), set(optional)
        self.checks: list[Check] = []
        self._begun = time.monotonic()

    def preflight(self, own: Iterable[str]) -> None:
        """Refuse names of checks that do not exist, or that stand in both lists."""
        known = {*NAMES, *own}
        preflight = Preflight()
        unknown = sorted((self.required | self.optional) - known)
        preflight.require(not unknown, f"no such check: {', '.join(unknown)}", f"there are {', '.join(sorted(known))}")
        both = sorted(self.required & self.optional)
        preflight.require(not both, f"both required and optional: {', '.join(both)}", "name each once")
        preflight.done()

    def begin(self) -> None:
        """The next check's time starts now."""
        self._begun = time.monotonic()

    def add(
        self, status: str, name: str, *, required: bool = True, expected: Any = None, actual: Any = None,
        message: str = "", seconds: float | None = None,
    ) -> None:  # fmt: skip
        """Note a result; its time is that since the last one, or since `begin`."""
        now = time.monotonic()
        needed = name in self.required or (required and name not in self.optional)
        spent = now - self._begun if seconds is None else seconds
        self.checks.append(Check(name, needed, status, expected, actual, spent, " ".join(message.split())))
        self._begun = now

    def judge(
        self, name: str, good: bool, *, required: bool = True, expected: Any = None, actual: Any = None,
        message: str = "", seconds: float | None = None,
    ) -> None:  # fmt: skip
        """Note that a check ran, and whether it found what it expected."""
        status = "passed" if good else "failed"
        self.add(
            status, name, required=required, expected=expected, actual=actual, message=message, seconds=seconds
        )  # fmt: skip

    def skip(self, name: str, why: str, required: bool = False) -> None:
        """Note that a check could not run, and why."""
        self.add("skipped", name, required=required, message=why)

    @property
    def verdict(self) -> str:
        """What the checks say together."""
        return verdict(self.checks)


@dataclass
class Subject:
    """The server under examination.

    :param manifest: the manifest that its backup carried, None without one (`no_manifest` says why)
    :param lost: whether a manifest should be there and is not; then what needs it is required all the same
    :param settled: whether a checkpoint has written what was replayed, so that pages can be read from the files
    """

    server: Server
    params: Mapping[str, Any]
    major: int
    standby: bool
    checksums: bool
    databases: dict[str, int]
    deadline: float
    manifest: dict[str, Any] | None = None
    no_manifest: str = ""
    lost: bool = False
    settled: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def position(self) -> int:
        """The manifest's log position."""
        return lsn.parse(self.manifest["lsn"]) if self.manifest else 0

    @property
    def page(self) -> int:
        """Bytes of a page."""
        return int(self.manifest["page_bytes"]) if self.manifest else 8192

    def left(self) -> float:
        """Seconds of the time budget that are left, at least one."""
        return max(1.0, self.deadline - time.monotonic())

    def file(self, path: str) -> Path:
        """A relation's file by its path below the data directory."""
        return self.server.data_dir / path

    def page_state(self, recorded: str | None, now: str | None, block: int) -> str:
        """A catalogue's page since the manifest was taken: `same`, `changed` or `unknown`."""
        if not self.settled or block < 0 or not recorded:
            return "unknown"
        if recorded != now:
            return "changed"
        position = page_position(self.file(recorded), block, self.page)
        return "same" if 0 <= position <= self.position else "changed"
