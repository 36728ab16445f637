# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this machine can run the lab, and why not: each check tries the very thing the lab does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import network, plan
from tests.lab.cgroup import Group, hierarchy
from tests.lab.run import LabError, attempt, last_line, run
from tests.lab.state import Cut

# Program -> Debian package.
PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "squid": "squid",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
FREE_GB = 3


@dataclass(frozen=True)
class Check:
    """One answer: `reason` is '' when all is well; an optional check does not stop the lab."""

    name: str
    reason: str
    optional: bool = False


def require_root() -> None:
    """Raise LabError unless run as root."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root (namespaces, mounts, a bridge)")


def missing_packages() -> list[str]:
    """Return the Debian packages that the lab misses on this machine."""
    return sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})


def require_packages() -> None:
    """Raise one LabError that names every missing package."""
    missing = missing_packages()
    if missing:
        raise LabError(f"packages are missing: apt-get install --no-install-recommends {' '.join(missing)}")


def check_namespaces() -> None:
    run(["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork", "true"])


def check_cgroup() -> None:
    if not (hierarchy() / "cgroup.procs").exists():
        raise LabError("the cgroup2 mount is not usable")
    group = Group("_doctor")
    try:
        group.create()
        if not (group.path / "cgroup.kill").exists():
            raise LabError("this kernel has no cgroup.kill (needs Linux 5.14)")
    except OSError as exc:
        raise LabError(f"cannot make a control group: {exc}") from exc
    finally:
        group.kill()


def check_overlay(where: plan.Paths) -> None:
    where.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="doctor.", dir=where.cache) as scratch:
        parts = {name: Path(scratch, name) for name in ("lower", "disk", "work", "root")}
        for part in parts.values():
            part.mkdir()
        options = f"lowerdir={parts['lower']},upperdir={parts['disk']},workdir={parts['work']}"
        run(["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, str(parts["root"])])


def check_network() -> None:
    run(["unshare", "--net", "ip", "link", "add", plan.BRIDGE, "type", "bridge"])
    run(["unshare", "--net", "ip", "link", "add", "vb-a", "type", "veth", "peer", "name", "host0"])
    taken = network.foreign_routes(run(["ip", "-json", "route", "show", "table", "all"]))
    if taken:
        raise LabError(f"{plan.PREFIX}0/{plan.NETMASK} is in use on {', '.join(taken)}")


def check_partitions() -> None:
    cuts = [Cut("a"), Cut("a", "b"), Cut("a", plan.CONTROLLER)]
    run(["unshare", "--net", "nft", "-f", "-"], stdin=network.ruleset(cuts))


def check_space(where: plan.Paths) -> None:
    where.cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(where.cache).free / 1e9
    if free < FREE_GB:
        raise LabError(f"{where.cache} has {free:.1f} GB free, {FREE_GB} are needed")


def check_delay() -> None:
    netem = attempt(["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"])
    queue = attempt(["unshare", "--net", "iptables", "-A", "INPUT", "-j", "NFQUEUE", "--queue-num", "1"])
    if netem.returncode != 0 and queue.returncode != 0:
        raise LabError(f"neither netem nor NFQUEUE in this kernel ({last_line(queue.stderr)}): no 'delay'")


def examine(where: plan.Paths) -> list[Check]:
    """Return every check with its result; where root or packages are missing, the others cannot be tried."""
    checks: list[tuple[str, Callable[[], None], bool]] = [
        ("root", require_root, False),
        ("packages", require_packages, False),
        ("namespaces", check_namespaces, False),
        ("control groups", check_cgroup, False),
        ("overlay file system", lambda: check_overlay(where), False),
        ("bridge and subnet", check_network, False),
        ("partitions (nftables)", check_partitions, False),
        ("disk space", lambda: check_space(where), False),
        ("delay (netem or a queue)", check_delay, True),
    ]
    results = []
    for name, check, optional in checks:
        try:
            check()
            reason = ""
        except (LabError, OSError) as exc:
            reason = str(exc)
        results.append(Check(name, reason, optional))
        if reason and name == "root":
            break
    return results


def unavailable() -> str:
    """Return why this machine cannot run the lab, in one line; empty where it can."""
    failed = [f"{check.name}: {check.reason}" for check in examine(plan.paths()) if check.reason and not check.optional]
    return "; ".join(failed)
