# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one reaches the hosts: the lab's key, ssh_config and known_hosts; and the names inside /etc/hosts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.lab import plan
from tests.lab.run import run
from tests.lab.state import Host

BEGIN, END = "# lab hosts: begin", "# lab hosts: end"


def keygen(path: Path) -> None:
    """Make an ed25519 key pair at path (and path.pub) unless it is there."""
    if not path.with_name(path.name + ".pub").exists():
        path.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "boringdb-lab", "-f", str(path)])


def ssh_config(where: plan.Paths, hosts: Iterable[Host]) -> str:
    """Return an ssh_config for `ssh -F`; a host is known by its name and by its address."""
    blocks = [f"Host {host.name} {host.address}\n  HostName {host.address}\n" for host in hosts]
    common = {
        "User": "root",
        "IdentityFile": where.key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": where.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "PreferredAuthentications": "publickey",
        "ConnectTimeout": 5,
        # A host that was cut off or killed answers nothing: notice it.
        "ServerAliveInterval": 5,
        "ServerAliveCountMax": 3,
        "LogLevel": "ERROR",
    }
    return "".join([*blocks, "Host *\n", *(f"  {option} {value}\n" for option, value in common.items())])


def known_hosts(hosts: Iterable[Host], keys: dict[str, str]) -> str:
    """Return known_hosts lines; keys maps a host's name to its public key line."""
    lines = []
    for host in hosts:
        kind, key = keys[host.name].split()[:2]
        lines.append(f"{host.name},{host.address} {kind} {key}\n")
    return "".join(lines)


def names_block(hosts: Iterable[Host]) -> str:
    """Return the lines of /etc/hosts that the lab keeps, markers included."""
    lines = [BEGIN, f"{plan.CONTROLLER_ADDRESS} {plan.CONTROLLER}"]
    lines += [f"{host.address} {host.name}" for host in hosts]
    return "\n".join([*lines, END]) + "\n"


def with_names(text: str, hosts: Iterable[Host]) -> str:
    """Return /etc/hosts' text with the lab's block brought up to date, everything else untouched."""
    block = names_block(hosts)
    before, begin, rest = text.partition(BEGIN + "\n")
    if not begin:
        return (text if text.endswith("\n") or not text else text + "\n") + block
    _old, end, after = rest.partition(END + "\n")
    return before + block + (after if end else "")
