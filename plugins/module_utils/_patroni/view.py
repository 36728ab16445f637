# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Patroni says of the whole cluster: its members, the leader, whether it is paused. In words of 3.0 to 4.1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.rest import Api

_LEADS = ("leader", "standby_leader", "master", "primary")
#: A replica that is well: up to 3 it is running, from 4 on it is told apart from one that only takes from the archive.
_WELL = ("running", "streaming")


@dataclass(frozen=True)
class Member:
    """One member."""

    name: str
    role: str
    state: str
    host: str = ""
    port: int = 0
    url: str = ""
    timeline: int = 0
    lag: int | None = None
    pending_restart: bool = False
    tags: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Member:
        """A row of GET /cluster."""
        url = str(row.get("api_url") or "")
        lag = row.get("lag")
        return cls(
            name=str(row.get("name") or ""),
            role=str(row.get("role") or ""),
            state=str(row.get("state") or ""),
            host=str(row.get("host") or ""),
            port=int(row.get("port") or 0),
            url=url[: -len("/patroni")] if url.endswith("/patroni") else url,
            timeline=int(row.get("timeline") or 0),
            lag=lag if isinstance(lag, int) else None,
            pending_restart=bool(row.get("pending_restart")),
            tags=row.get("tags") or {},
        )

    @property
    def leads(self) -> bool:
        """Whether it holds the leader's lock."""
        return self.role in _LEADS

    @property
    def well(self) -> bool:
        """Whether its server runs, as a replica or the leader."""
        return self.state in _WELL

    def tag(self, name: str) -> bool:
        """Whether a tag is set."""
        return str((self.tags or {}).get(name, False)).lower() in ("true", "on", "yes", "1")


@dataclass(frozen=True)
class View:
    """The cluster as one node sees it."""

    members: tuple[Member, ...]
    paused: bool = False
    scheduled: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> View:
        """The answer to GET /cluster."""
        members = tuple(Member.of(row) for row in answer.get("members") or [])
        scheduled = answer.get("scheduled_switchover") or {}
        return cls(members, bool(answer.get("pause")), str(scheduled.get("at") or ""))

    @property
    def leader(self) -> Member | None:
        """The member that leads, None where nobody does."""
        return next((member for member in self.members if member.leads), None)

    def named(self, name: str) -> Member | None:
        """The member of this name in Patroni."""
        return next((member for member in self.members if member.name == name), None)

    def at(self, host: str, port: int, name: str = "") -> Member:
        """The member at an address, or with that name. Raises OpsError where there is none."""
        found = [member for member in self.members if (member.host, member.port) == (host, port)]
        found = found or [member for member in self.members if name and member.name == name]
        if len(found) != 1:
            told = ", ".join(f"{member.name} at {member.host}:{member.port}" for member in self.members) or "none"
            raise OpsError(f"Patroni knows no member at {host}:{port}; correct db_address or db_port (it knows {told})")
        return found[0]

    def facts(self) -> dict[str, Any]:
        """The view as a module returns it."""
        return {
            "leader": self.leader.name if self.leader else None,
            "paused": self.paused,
            "scheduled_switchover": self.scheduled or None,
            "members": [
                {"name": one.name, "role": "leader" if one.leads else one.role, "state": one.state, "host": one.host,
                 "port": one.port, "timeline": one.timeline, "lag_bytes": one.lag,
                 "pending_restart": one.pending_restart, "tags": dict(one.tags or {})}
                for one in self.members
            ],
        }  # fmt: skip


def look(api: Api, seconds: float = 10) -> View:
    """Ask a node. Raises OpsError where it does not answer."""
    return View.of(api.get("/cluster", seconds))
