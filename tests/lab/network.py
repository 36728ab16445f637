# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network: one bridge, an interface a host (by nspawn), cuts and slow links by nftables, delay by tc."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.lab import plan
from tests.lab.run import LabError, attempt, run
from tests.lab.state import Cut

TABLE = "boringdb_lab"
# A table a host whose link is slow. A frame of a virtual interface holds up to 64 kB.
RATE_TABLE = "boringdb_rate_"
RATE_BURST_KB = 192
# A fixed hardware address: else the bridge takes a new one whenever a host comes or goes, and peers lose it.
BRIDGE_MAC = "02:62:64:62:00:01"


def link_exists(name: str) -> bool:
    """Return whether this machine has a network interface `name`."""
    return Path("/sys/class/net", name).exists()


def bridge_owner() -> str | None:
    """Return the run directory of the lab that the bridge belongs to, None without a bridge."""
    try:
        return Path("/sys/class/net", plan.BRIDGE, "ifalias").read_text().strip()
    except OSError:
        return None


def bridge_up(where: plan.Paths) -> bool:
    """Make the bridge; return whether it had to be made."""
    made = not link_exists(plan.BRIDGE)
    if made:
        run(["ip", "link", "add", plan.BRIDGE, "address", BRIDGE_MAC, "type", "bridge"])
    # Repeated at every 'up': a killed invocation may have left the bridge half made.
    run(["ip", "link", "set", plan.BRIDGE, "alias", str(where.run), "up"])
    run(["ip", "address", "replace", f"{plan.CONTROLLER_ADDRESS}/{plan.NETMASK}", "dev", plan.BRIDGE])
    return made


def link_delete(name: str) -> None:
    """Delete an interface if it exists (a killed host's can outlive it for a moment, or go by itself)."""
    if link_exists(name):
        done = attempt(["ip", "link", "delete", name])
        if done.returncode != 0 and link_exists(name):
            raise LabError(f"ip link delete {name}: {done.stderr.strip()}")


def bridge_ports() -> list[str]:
    """Return the interfaces attached to the bridge."""
    directory = Path("/sys/class/net", plan.BRIDGE, "brif")
    return sorted(port.name for port in directory.iterdir()) if directory.exists() else []


def ruleset(cuts: Sequence[Cut]) -> str:
    """Return the complete nft script that makes exactly `cuts` hold, replacing what held before.

    Frames are dropped silently, as a broken network does: no reset, no carrier change.
    """
    chains: dict[str, list[str]] = {"prerouting": [], "input": [], "forward": [], "output": [], "postrouting": []}

    def drop(chain: str, match: str) -> None:
        chains[chain].append(f"    {match} drop")

    for cut in cuts:
        port = plan.veth(cut.host)
        if cut.other is None:
            drop("prerouting", f'iifname "{port}"')
            drop("postrouting", f'oifname "{port}"')
        elif cut.other == plan.CONTROLLER:
            drop("input", f'iifname "{port}"')
            drop("output", f'oifname "{port}"')
        else:
            other = plan.veth(cut.other)
            drop("forward", f'iifname "{port}" oifname "{other}"')
            drop("forward", f'iifname "{other}" oifname "{port}"')
    lines = [f"table bridge {TABLE}", f"delete table bridge {TABLE}"]
    if cuts:
        lines.append(f"table bridge {TABLE} {{")
        for hook, rules in chains.items():
            lines += [f"  chain {hook} {{", f"    type filter hook {hook} priority 0; policy accept;", *rules, "  }"]
        lines.append("}")
    return "\n".join(lines) + "\n"


def apply_cuts(cuts: Sequence[Cut]) -> None:
    """Make exactly `cuts` hold, in one transaction."""
    run(["nft", "-f", "-"], stdin=ruleset(cuts))


def table_exists() -> bool:
    """Return whether the lab's table is loaded."""
    return attempt(["nft", "list", "table", "bridge", TABLE]).returncode == 0


def rate_rules(name: str, kilobytes: int) -> str:
    """Return the nft script that lets no more than so many kilobytes a second to and from host `name`; 0 ends it.

    What is above that is dropped, as a full queue does, and TCP sends more slowly.
    """
    if kilobytes < 0:
        raise LabError(f"a rate of {kilobytes} kB/s is not possible")
    table, port = f"table bridge {RATE_TABLE}{name.replace('-', '_')}", plan.veth(name)
    lines = [table, f"delete {table}"]
    if kilobytes:
        above = f"limit rate over {kilobytes} kbytes/second burst {RATE_BURST_KB} kbytes drop"
        lines += [
            f"{table} {{",
            "  chain prerouting { type filter hook prerouting priority 1; policy accept;",
            f'    iifname "{port}" {above}',
            "  }",
            "  chain postrouting { type filter hook postrouting priority 1; policy accept;",
            f'    oifname "{port}" {above}',
            "  }",
            "}",
        ]
    return "\n".join(lines) + "\n"


def apply_rate(name: str, kilobytes: int) -> None:
    """Have a host's link be so slow."""
    run(["nft", "-f", "-"], stdin=rate_rules(name, kilobytes))


def delay_argv(name: str, milliseconds: int) -> list[str]:
    """Return the tc command that delays every packet to host `name`; 0 ends the delay."""
    if milliseconds < 0:
        raise LabError(f"a delay of {milliseconds} ms is not possible")
    device = ["dev", plan.veth(name), "root"]
    if milliseconds == 0:
        return ["tc", "qdisc", "delete", *device]
    return ["tc", "qdisc", "replace", *device, "netem", "delay", f"{milliseconds}ms"]


def delay(name: str, milliseconds: int) -> bool:
    """Delay packets to host `name`; return whether the kernel can."""
    done = attempt(delay_argv(name, milliseconds))
    if done.returncode == 0 or (milliseconds == 0 and "handle of zero" in done.stderr):
        return True
    if "qdisc kind is unknown" in done.stderr:
        return False
    raise LabError(f"tc: {done.stderr.strip()}")


def foreign_routes(routes_json: str) -> list[str]:
    """Return the interfaces that already reach the lab's subnet, from `ip -json route`'s output."""
    found = [route for route in json.loads(routes_json) if str(route.get("dst", "")).startswith(plan.PREFIX)]
    return [str(route.get("dev")) for route in found if route.get("dev") != plan.BRIDGE]
