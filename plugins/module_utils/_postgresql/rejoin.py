# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`rejoin` for PostgreSQL on plain hosts: the old primary's way back, as a replica of the one that took its place."""

from __future__ import annotations

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    rejoin_account,
    rejoin_plan,
    rejoin_rewind,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server


def rejoin(params: Params, check_mode: bool) -> Outcome:
    """Do what `state` asks for, on the member that it is for."""
    server = Server.of(params)
    state = params["state"]
    preflight = Preflight()
    port = params["primary_port"]
    preflight.require(0 < port < 65536, f"primary_port {port} is none", "give one from 1 to 65535")
    needs = {"planned": ("name", "primary_address"), "rewound": ("primary_address",)}.get(state, ())
    for name in needs:
        preflight.require(bool(params[name]), f"state {state} needs {name}", f"set {name}")
    address = params["primary_address"] or ""
    preflight.require(not set("'\\\n ") & set(address), f"primary_address {address!r} is none", "give a name of a host")
    preflight.require(state != "followed", "state followed is Patroni's, which does not run this server", "see planned")
    preflight.done()
    if state == "planned":
        return Outcome(False, rejoin_plan.plan(server, params))
    act = {
        "admitted": rejoin_account.admitted,
        "dismissed": rejoin_account.dismissed,
        "rewound": rejoin_rewind.rewound,
        "aside": rejoin_rewind.set_aside,
        "finished": rejoin_rewind.finished,
    }[state]
    return act(server, params, check_mode)
