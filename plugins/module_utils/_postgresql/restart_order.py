# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order the servers of a cluster may be restarted, so that no replica is ever left behind its primary.

A standby refuses to start, or stops replaying, where one of five settings is less than on its primary. So what is
raised is raised on the replicas first, what is lowered is lowered on the primary first. Else the primary comes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight


@dataclass(frozen=True)
class Member:
    """A server: `current` and `new` hold the five settings before and after its restart."""

    name: str
    primary: bool
    pending: tuple[str, ...] = ()
    current: Mapping[str, int] = field(default_factory=dict)
    new: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, facts: Mapping[str, Any]) -> Member:
        """A member by what `instance_info` says of it."""
        awaiting = facts.get("awaiting_restart") or []
        current = {key: int(value) for key, value in (facts.get("standby_minimum") or {}).items()}
        coming = {key: int(value) for key, value in (facts.get("standby_minimum_new") or {}).items()}
        pending = tuple(one["name"] for one in awaiting)
        return cls(name, facts.get("role") == "primary", pending, current, {**current, **coming})


def restart_order(members: Iterable[Member]) -> list[str]:
    """The names of the members that await a restart, in their order. Raises Refused where there is none."""
    every = list(members)
    waiting = [member for member in every if member.pending]
    preflight = Preflight()
    if not waiting:
        return []
    [primary] = [member for member in every if member.primary]
    replicas = [member for member in every if not member.primary]
    for replica in replicas:
        for name in _below(replica.new, primary.new):
            preflight.refuse(
                f"{replica.name} would have {name} {replica.new[name]}, less than the {primary.new[name]} of the "
                f"primary {primary.name}, and stop replaying",
                "declare the same for both",
            )
    first = [replica for replica in replicas if replica.pending and not _below(replica.new, primary.current)]
    after = [replica for replica in replicas if replica.pending and replica not in first]
    preflight.done()
    for replica in after:
        raised = _below(replica.current, primary.new)
        lowered = _below(replica.new, primary.current)
        preflight.require(
            not raised,
            f"{', '.join(raised)} is raised and {', '.join(lowered)} is lowered in one step, for {replica.name} no "
            "order fits",
            "raise first and restart, then lower and restart",
        )
    preflight.done()
    return [member.name for member in [*first, *([primary] if primary.pending else []), *after]]


def _below(values: Mapping[str, int], floor: Mapping[str, int]) -> list[str]:
    """The settings that are less than they must be."""
    return [name for name in sorted(floor) if values.get(name, floor[name]) < floor[name]]
