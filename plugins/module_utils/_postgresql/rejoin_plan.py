# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an old primary is to be thrown away, and what it takes to make it a replica again: read from its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn, replica_upstream, wal_tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import CLEAN_STATES, Server, timeline_of

#: nothing: it streams. attach: all it has is the primary's, too. rewind: it has more. reclone: it can't be rewound.
ACTIONS = ("nothing", "attach", "rewind", "reclone")


def beside(server: Server) -> Path:
    """Where the data is while it is rewound: whoever starts the server then finds none."""
    return server.data_dir.with_name(f"{server.data_dir.name}.rewinding")


def diverged_place(server: Server, timeline: int, fork: int) -> Path:
    """Where the WAL goes that only this member has."""
    return server.data_dir.with_name(f"{server.data_dir.name}.diverged-{timeline:08X}-{fork:016X}")


def plan(server: Server, params: Params) -> dict[str, Any]:
    """What is to be done. Raises Refused, with every reason, where a person has to decide."""
    cluster, timeline, history = replica_upstream.lineage(params)
    facts: dict[str, Any] = {"action": "attach", "why": "", "primary_timeline": timeline, "lost": None,
                             "managed": False}  # fmt: skip
    facts["goes_on"] = not server.exists() and beside(server).exists()
    if facts["goes_on"]:
        facts["action"] = "rewind"
        return facts
    if not server.exists():
        _clone(params, facts, f"{server.data_dir} holds no data")
        return facts
    control, forks = server.control(), dict(history)
    own = timeline_of(control)
    facts["timeline"] = own
    _refuse(server, params, control, cluster, timeline)
    if params["streams"] and own <= timeline:
        facts["action"] = "nothing"
    elif own in forks:
        _compare(server, params, facts, control, lsn.parse(forks[own]))
    elif own != timeline or not (server.data_dir / "standby.signal").exists():
        _clone(params, facts, f"it is on timeline {own}, which is not in the primary's history")
    return facts


def _refuse(server: Server, params: Params, control: Mapping[str, str], cluster: str, timeline: int) -> None:
    own, identity = timeline_of(control), control.get("Database system identifier", "")
    preflight = Preflight()
    preflight.require(
        identity == cluster,
        f"{server.data_dir} holds another cluster's data (system identifier {identity}, the primary's is {cluster})",
        "move it away yourself if it is not wanted",
    )
    preflight.require(
        not params["takes_writes"] or params["stop"] == params["name"],
        f"{params['name']} takes writes itself, on timeline {own}, and the primary's is {timeline}",
        f"rejoin_stop={params['name']} stops it; what was written to it alone is set aside, and leaves the cluster",
    )
    preflight.done()


def _compare(server: Server, params: Params, facts: dict[str, Any], control: Mapping[str, str], fork: int) -> None:
    """What its files have after the position where the primary left its timeline."""
    own = int(facts["timeline"])
    try:
        left = wal_tail.wal_tail(server, own, fork)
    except OpsError as exc:
        clean = control.get("Database cluster state") in CLEAN_STATES
        if not clean or lsn.parse(control["Latest checkpoint location"]) >= fork:
            _clone(params, facts, f"where the primary left its history can't be read: {exc}")
        return
    facts["needed_lsn"] = lsn.text(min(left.end, fork))
    if left.end <= fork:
        return
    facts["lost"] = {**left.facts(), "fork_lsn": lsn.text(fork)}
    facts["action"] = "rewind"
    if control.get("Data page checksum version", "0") == "0" and control.get("wal_log_hints setting") != "on":
        _clone(params, facts, "it has neither checksums nor wal_log_hints, without which pg_rewind can't be used")
    elif os.path.ismount(server.data_dir):
        _clone(params, facts, f"{server.data_dir} is a mount point, and can't be set beside")


def _clone(params: Params, facts: dict[str, Any], why: str) -> None:
    """It has to be cloned anew, which a person has to have allowed."""
    preflight = Preflight()
    preflight.require(
        params["reclone"],
        f"{params['name']} can't be rewound: {why}",
        "rejoin_reclone=true sets its data aside and clones it anew",
    )
    preflight.done()
    facts.update(action="reclone", why=why)
