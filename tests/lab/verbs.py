# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each verb does. Functions that change the lab return what they changed ([] when nothing)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab import access, base, cgroup, delayer, host, network, plan, proxy, state
from tests.lab.cgroup import Group
from tests.lab.run import LabError, attempt, run, wait_until
from tests.lab.state import Cut, Host, State

BOOT_SECONDS = 60


def check_owner(where: plan.Paths) -> None:
    """Raise LabError when the lab that runs on this machine lies in another cache."""
    owner = network.bridge_owner()
    if owner and owner != str(where.run):
        raise LabError(f"a lab runs from {owner}: set BORINGDB_LAB_CACHE={Path(owner).parent}")


def ssh_argv(where: plan.Paths, name: str, command: Sequence[str]) -> list[str]:
    """Return the ssh command line for host `name`."""
    return ["ssh", "-F", str(where.ssh_config), name, *command]


def refresh_access(where: plan.Paths, lab: State) -> None:
    """Write state, ssh_config and known_hosts; tell running hosts each other's names."""
    hosts = list(lab.hosts.values())
    state.save(where, lab)
    keys = {h.name: host.public_key(where, h) for h in hosts}
    for path, text in (
        (where.ssh_config, access.ssh_config(where, hosts)),
        (where.known_hosts, access.known_hosts(hosts, keys)),
    ):
        # In one step: whoever connects meanwhile reads the old one or the new one, not half of it.
        new = path.with_name(f"{path.name}.new")
        new.write_text(text)
        new.replace(path)


def sweep(where: plan.Paths, lab: State) -> None:
    """Clear what killed invocations left: processes and disks that belong to no host of the lab."""
    for name in cgroup.names():
        if name not in lab.hosts and name != cgroup.SQUID:
            Group(name).kill()
    for port in network.bridge_ports():
        if port.removeprefix("vb-") not in lab.hosts:
            network.link_delete(port)
    for directory in where.hosts.iterdir() if where.hosts.exists() else ():
        if directory.name not in lab.hosts:
            remove_tree(directory)
    for tree in where.bases.glob("*.new"):
        remove_tree(tree)


def remove_tree(directory: Path) -> None:
    """Remove a directory; first detach what is mounted below it, so that nothing foreign is deleted."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((m for m in mounts if Path(m).is_relative_to(directory)), reverse=True):
        run(["umount", "--lazy", point])
    if directory.exists():
        shutil.rmtree(directory)


def up(where: plan.Paths, words: Sequence[str], suite: str | None) -> list[str]:
    """Bring every host up that is named (NAME or NAME@SUITE).

    Creates what is missing, boots what is off, heals what is cut, waits for SSH.
    """
    lab = state.load(where)
    addresses = {h.address for h in lab.hosts.values()}
    names = plan.wanted(words, suite)
    for name, its_suite in names.items():
        there = lab.hosts.get(name)
        if there and its_suite and there.suite != its_suite:
            raise LabError(f"{name} is {there.suite}, not {its_suite}: run 'down {name}' first")
    sweep(where, lab)
    network.bridge_up(where)
    changed = ["started the proxy"] if proxy.start(where) else []
    access.keygen(where.key)

    new_ones = [name for name in names if name not in lab.hosts or not (where.hosts / name).is_dir()]
    trees = base.ensure_all(where, {names[name] or plan.DEFAULT_SUITE for name in new_ones})
    for name in new_ones:
        of = names[name] or plan.DEFAULT_SUITE
        new = Host(name, plan.address(name, addresses), of, trees[of])
        host.make_disk(where, new)
        addresses.add(new.address)
        lab.hosts[name] = new
        state.save(where, lab)
        changed.append(f"created {name}")
    refresh_access(where, lab)
    if any(what.startswith("created") for what in changed):
        tell_names(lab)

    kept = [cut for cut in lab.cuts if not any(cut.concerns(name) for name in names)]
    if kept != lab.cuts:
        changed.append("healed " + " ".join(sorted({cut.host for cut in lab.cuts if cut not in kept})))
        set_cuts(where, lab, kept)

    asked = [lab.host(name) for name in names]
    booted = [each for each in asked if not host.powered(each)]
    for each in booted:
        host.power_on(where, each, lab.hosts.values())
    await_hosts(where, lab, asked)
    return changed + [f"booted {each.name}" for each in booted]


def await_hosts(where: plan.Paths, lab: State, hosts: Sequence[Host]) -> None:
    """Return when every host has booted and (unless it is cut off from here) answers SSH."""
    unreachable = {cut.host for cut in lab.cuts if cut.other in (None, plan.CONTROLLER)}
    with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
        list(pool.map(lambda each: await_host(where, each, each.name not in unreachable), hosts))


def await_host(where: plan.Paths, each: Host, reachable: bool) -> None:
    """Return when the host has booted; LabError with its console's last words when it does not."""

    def entered() -> bool:
        try:
            return bool(host.exec_argv(each, []))
        except LabError:
            return False

    def banner() -> bool:
        if not host.powered(each):
            raise LabError(f"{each.name} went off while booting, its console says: {host.console_says(where, each)}")
        if not reachable:
            return entered()
        try:
            with socket.create_connection((each.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    wait_until(
        banner, BOOT_SECONDS, f"{each.name} does not answer SSH, its console: {where.hosts / each.name}/console.log"
    )
    says = ""

    def settled() -> bool:
        nonlocal says
        says = host.system_state(ssh_argv(where, each.name, []) if reachable else host.exec_argv(each, []))
        return says in {"running", "degraded"}

    wait_until(settled, BOOT_SECONDS, f"{each.name} does not finish booting")
    if says == "degraded":
        failed = attempt([*ssh_argv(where, each.name, []), "systemctl", "--failed", "--plain", "--no-legend"]).stdout
        units = " ".join(line.split()[0] for line in failed.splitlines() if line.strip())
        print(f"lab: {each.name} is up, with failed units: {units}", file=sys.stderr)


def tell_names(lab: State) -> None:
    """Write the hosts' names into /etc/hosts of those that run; others learn them when they boot."""
    for each in lab.hosts.values():
        if host.powered(each):
            host.write_names(each, lab.hosts.values())


def down(where: plan.Paths, names: Sequence[str]) -> list[str]:
    """Remove the named hosts with their disks; with none named, or none left, the whole lab."""
    try:
        lab = state.load(where)
    except LabError:
        if names:
            raise
        lab = State()
    if not names or set(lab.hosts) <= set(names):
        return down_all(where, lab)
    sweep(where, lab)
    gone = [lab.hosts.pop(name) for name in dict.fromkeys(names) if name in lab.hosts]
    for each in gone:
        host.power_off(each)
        network.apply_rate(each.name, 0)
    set_cuts(where, lab, [cut for cut in lab.cuts if not any(cut.concerns(each.name) for each in gone)])
    refresh_access(where, lab)
    for each in gone:
        remove_tree(where.hosts / each.name)
    tell_names(lab)
    return [f"removed {each.name}" for each in gone]


def down_all(where: plan.Paths, lab: State) -> list[str]:
    """Remove everything but the caches, also what no state file tells of."""
    there = bool(cgroup.names() or network.link_exists(plan.BRIDGE) or where.run.exists())
    hosts = [name for name in cgroup.names() if plan.NAME.fullmatch(name)]
    for port in network.bridge_ports():
        network.link_delete(port)
    for name in {*hosts, *lab.hosts}:
        host.power_off(lab.hosts.get(name) or Host(name, "", "", ""))
        network.apply_rate(name, 0)
    if Group(cgroup.SQUID).path.exists():
        proxy.stop()
    Group("").kill()
    if network.table_exists():
        network.apply_cuts([])
    network.link_delete(plan.BRIDGE)
    remove_tree(where.run)
    for tree in where.bases.glob("*.new"):
        remove_tree(tree)
    return [f"removed {' '.join(sorted({*hosts, *lab.hosts})) or 'leftovers'}"] if there else []


def set_cuts(where: plan.Paths, lab: State, cuts: list[Cut]) -> bool:
    """Make exactly `cuts` hold and remember them; return whether that differs from before."""
    differs = cuts != lab.cuts
    if cuts or differs:
        network.apply_cuts(cuts)
    lab.cuts = cuts
    state.save(where, lab)
    return differs


def cut(where: plan.Paths, name: str, other: str | None) -> list[str]:
    """Cut a host off from everything, or from one other host (or the controller)."""
    lab = state.load(where)
    lab.host(name)
    if other == name:
        raise LabError(f"{name} cannot be cut off from itself")
    if other is not None and other != plan.CONTROLLER:
        lab.host(other)
    wanted = Cut(name, other)
    known = wanted in lab.cuts or (other is not None and Cut(other, name) in lab.cuts)
    set_cuts(where, lab, lab.cuts if known else [*lab.cuts, wanted])
    return [] if known else [f"cut {name} from {other or 'everything'}"]


def heal(where: plan.Paths, name: str, other: str | None) -> list[str]:
    """End every cut of a host, or only the one from `other`."""
    lab = state.load(where)
    lab.host(name)
    kept = [
        each
        for each in lab.cuts
        if not (
            each.concerns(name)
            if other is None
            else each.other is not None and each.concerns(name) and each.concerns(other)
        )
    ]
    return [f"healed {name}"] if set_cuts(where, lab, kept) else []


def delay(where: plan.Paths, name: str, milliseconds: int) -> list[str]:
    """Delay packets of a running host until it is booted again; 0 ends it."""
    each = state.load(where).host(name)
    leader = host.leader(each)
    group = Group(name)
    for pid in group.pids("delay"):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not group.pids("delay"), 20, f"the delay of {name} does not end")
    if not network.delay(name, milliseconds):
        # Of what comes in: what waits on its way out holds up its own connection (TCP small queues).
        enter = ["nsenter", f"--target={leader}", "--net"]
        rule = ["INPUT", "-j", "NFQUEUE", "--queue-num", str(delayer.QUEUE), "--queue-bypass"]
        if attempt([*enter, "iptables", "-C", *rule]).returncode != 0:
            run([*enter, "iptables", "-A", *rule])
        argv = group.argv([*enter, sys.executable, delayer.__file__, str(milliseconds)], "delay")
        begun = subprocess.Popen(argv, stdout=-1, stderr=-2, stdin=-3, text=True, start_new_session=True)
        said = begun.stdout.readline().strip() if begun.stdout else ""
        if said != "ready":
            raise LabError(f"{name} is not delayed: {said or 'no answer'}")
    return [f"delayed {name} by {milliseconds} ms"]


def throttle(where: plan.Paths, name: str, kilobytes: int) -> list[str]:
    """Let no more than so many kilobytes a second to and from a host; 0 ends it."""
    state.load(where).host(name)
    network.apply_rate(name, kilobytes)
    return [f"throttled {name} to {kilobytes} kB/s" if kilobytes else f"freed {name}"]


def kill(where: plan.Paths, names: Iterable[str]) -> list[str]:
    """Cut the power of running hosts; their disks stay."""
    lab = state.load(where)
    running = [each for each in map(lab.host, names) if host.powered(each)]
    for each in running:
        host.power_off(each)
    return [f"killed {each.name}" for each in running]


def start(where: plan.Paths, names: Iterable[str]) -> list[str]:
    """Boot hosts that are off, from the disks they had; cuts stay as they are."""
    lab = state.load(where)
    wanted = [lab.host(name) for name in names]
    network.bridge_up(where)
    proxy.start(where)
    off = [each for each in wanted if not host.powered(each)]
    for each in off:
        host.power_on(where, each, lab.hosts.values())
    await_hosts(where, lab, off)
    return [f"booted {each.name}" for each in off]


def status(where: plan.Paths) -> list[dict[str, object]]:
    """Return one record a host: name, address, suite, power (on/off), cut_from (names, '*' is everything)."""
    lab = state.load(where)
    rows: list[dict[str, object]] = []
    for each in lab.hosts.values():
        from_ = [(c.other or "*") if c.host == each.name else c.host for c in lab.cuts if c.concerns(each.name)]
        power = "on" if host.powered(each) else "off"
        rows.append(
            {"name": each.name, "address": each.address, "suite": each.suite, "power": power, "cut_from": from_}
        )
    return rows
