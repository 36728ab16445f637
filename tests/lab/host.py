# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host: its disk (an overlay over the base tree), its boot, its power cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable
from pathlib import Path

from tests.lab import access, network, plan, proxy
from tests.lab.cgroup import Group
from tests.lab.run import LabError, attempt, last_line, run, wait_until
from tests.lab.state import Host

BOOT = Path(__file__).with_name("boot.sh")
PROPAGATE = Path("/run/systemd/nspawn/propagate")  # nspawn's own directory of a running machine
KEY = "etc/ssh/ssh_host_ed25519_key"
LOCALHOST = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"


def files(host: Host, public_key: str, apt: str) -> dict[str, tuple[int, str]]:
    """Return what makes a host itself: path -> (mode, text). `apt` is apt's configuration."""
    network_unit = (
        "[Match]\nName=host0\n\n[Network]\n"
        f"Address={host.address}/{plan.NETMASK}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )
    return {
        "etc/hostname": (0o644, host.name + "\n"),
        "etc/hosts": (0o644, LOCALHOST),
        # Given, not empty: with an empty one systemd takes the boot for the first ever and presets every unit.
        "etc/machine-id": (0o444, uuid.uuid4().hex + "\n"),
        "etc/systemd/network/10-lab.network": (0o644, network_unit),
        "etc/apt/apt.conf.d/00boringdb-lab": (0o644, apt),
        "root/.ssh/authorized_keys": (0o600, public_key),
    }


def apt_conf(machine: str) -> str:
    """Return apt's configuration of a host; `machine` is `apt-config dump`'s output on this machine.

    Whether the mirror is checked for freshness is the machine's own decision (a frozen mirror needs it off).
    """
    own = [
        line
        for line in machine.splitlines()
        if line.startswith(("Acquire::Check-Valid-Until ", "Acquire::Check-Date "))
    ]
    return "\n".join(
        [
            f'Acquire::http::Proxy "{proxy.URL}";',
            'Acquire::Languages "none";',
            'Acquire::PDiffs "false";',
            'APT::Keep-Downloaded-Packages "false";',
            *own,
            "",
        ]
    )


def make_disk(where: plan.Paths, host: Host) -> None:
    """Make the host's disk in one step (a killed invocation leaves a .new that is cleaned away)."""
    base, new = where.bases / host.base, where.hosts / f"{host.name}.new"
    shutil.rmtree(new, ignore_errors=True)
    for directory in ("disk", "work", "root"):
        (new / directory).mkdir(parents=True)
    disk = new / "disk"
    shutil.copystat(base, disk)
    apt = apt_conf(run(["apt-config", "dump"]))
    for path, (mode, text) in files(host, where.key.with_suffix(".pub").read_text(), apt).items():
        make_parents(base, disk, Path(path).parent)
        (disk / path).write_text(text)
        (disk / path).chmod(mode)
    (disk / "root/.ssh").chmod(0o700)
    make_parents(base, disk, Path(KEY).parent)
    access.keygen(disk / KEY)
    new.rename(where.hosts / host.name)


def make_parents(base: Path, disk: Path, path: Path) -> None:
    """Make directory `path` on the disk with the modes that the base tree has."""
    for part in [*reversed(path.parents), path]:
        if not (disk / part).exists():
            (disk / part).mkdir(mode=0o755)
            if (base / part).exists():
                shutil.copystat(base / part, disk / part)


def public_key(where: plan.Paths, host: Host) -> str:
    """Return the host's public key line."""
    return (where.hosts / host.name / "disk" / f"{KEY}.pub").read_text()


def nspawn_argv(where: plan.Paths, host: Host) -> list[str]:
    """Return the command that boots the host's root directory."""
    return [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--settings=no",
        f"--directory={where.hosts / host.name / 'root'}",
        f"--machine={host.name}",
        f"--network-bridge={plan.BRIDGE}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--boot",
    ]


def powered(host: Host) -> bool:
    """Return whether the host runs (or boots, or shuts down)."""
    return Group(host.name).populated()


def power_on(where: plan.Paths, host: Host, hosts: Iterable[Host]) -> None:
    """Boot the host from its disk; returns at once. LabError when it has no disk or base tree."""
    directory = where.hosts / host.name
    if not (where.bases / host.base).is_dir():
        raise LabError(
            f"the base tree {host.base} of {host.name} is gone: run 'down {host.name}', then 'up {host.name}'"
        )
    power_off(host)  # clears what a crash left: group, interface
    names = directory / "disk/etc/hosts"
    names.write_text(access.with_names(names.read_text() if names.exists() else LOCALHOST, hosts))
    group = Group(host.name)
    argv = [
        "unshare",
        "--mount",
        "/bin/sh",
        str(BOOT),
        group.relative,
        str(where.bases / host.base),
        str(directory),
        *nspawn_argv(where, host),
    ]
    with (directory / "console.log").open("a") as console:
        process = subprocess.Popen(
            group.argv(argv, sub="loop"),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            cwd="/",
            start_new_session=True,
            # /tmp on disk, as on a Debian server; no image lock, the control group is ours.
            env={**os.environ, "SYSTEMD_NSPAWN_TMPFS_TMP": "0", "SYSTEMD_NSPAWN_LOCK": "0"},
        )
    # From here on an empty group means that the host is off.
    wait_until(lambda: powered(host) or process.poll() is not None, 20, f"{host.name} does not start")


def power_off(host: Host) -> None:
    """Cut the host's power. The cable goes first: a host that loses power sends no FIN and no RST."""
    network.link_delete(plan.veth(host.name))
    Group(host.name).kill()
    network.link_delete(plan.veth(host.name))
    for left in (PROPAGATE / host.name, PROPAGATE.with_name("unix-export") / host.name):
        with contextlib.suppress(OSError):
            left.rmdir()


def leader(host: Host) -> int:
    """Return the process id of the host's init on this machine; LabError when the host is off."""
    for pid in Group(host.name).pids("boot/payload"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[2:] == ["1"]:
                    return pid
    raise LabError(f"{host.name} is off: 'start {host.name}' boots it")


def exec_argv(host: Host, argv: list[str]) -> list[str]:
    """Return the command that runs argv inside the host without its network (as its console would)."""
    enter = [
        "nsenter",
        f"--target={leader(host)}",
        "--mount",
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--cgroup",
        "--root",
        "--wd",
    ]
    clean = [
        "env",
        "-i",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "LANG=C.UTF-8",
    ]
    return [*enter, "--", *clean, *argv]


def write_names(host: Host, hosts: Iterable[Host]) -> None:
    """Bring /etc/hosts of a running host up to date."""
    text = run(exec_argv(host, ["cat", "/etc/hosts"]))
    wanted = access.with_names(text, hosts)
    if wanted != text:
        run(exec_argv(host, ["tee", "/etc/hosts"]), stdin=wanted)


def console_says(where: plan.Paths, host: Host) -> str:
    """Return the last line of the host's console, for error messages."""
    log = where.hosts / host.name / "console.log"
    return f"{last_line(log.read_text(errors='replace')) if log.exists() else 'nothing'} (see {log})"


def system_state(argv: list[str]) -> str:
    """Return what `systemctl is-system-running --wait` (reached by argv) says: running, degraded, … or ''."""
    return last_line(attempt([*argv, "systemctl", "is-system-running", "--wait"], timeout=60).stdout)
