# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base tree of a suite: a minimal Debian that every host of that suite shares, read-only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab import plan, proxy
from tests.lab.cgroup import BUILD, Group
from tests.lab.run import LabError, attempt, last_line

# Hosts stay minimal on purpose: what an operation needs, its role must install. python3-apt is on Debian's own cloud
# images too; without it Ansible can't tell in check mode what it would install.
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "python3",
    "python3-apt",
    "openssh-server",
    "iproute2",
    "ca-certificates",
    "sudo",
    "procps",
)

RECIPE = 2  # raise it when finish() changes

# Units that only cost time in a container, or that take apt's lock at a random moment.
MASKED = (
    "apt-daily.service",
    "apt-daily.timer",
    "apt-daily-upgrade.service",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-update-utmp-runlevel.service",
)

FILES = {
    "etc/default/locale": "LANG=C.UTF-8\n",
    # A lost package database on a power cut is not what the lab tests; half the installation time is.
    "etc/dpkg/dpkg.cfg.d/boringdb-lab": "force-unsafe-io\n",
    "etc/resolv.conf": "# no name server: the lab's names are in /etc/hosts\n",
    "etc/ssh/sshd_config.d/boringdb-lab.conf": "PasswordAuthentication no\nPrintLastLog no\nMaxStartups 100\n",
}
# The package lists go too: a new server has none, and a role that forgets to fetch them must fail here.
REMOVED = ("etc/apt/sources.list", "etc/hostname", "etc/machine-id", "etc/resolv.conf", "var/lib/dbus/machine-id")


def name(suite: str) -> str:
    """Return the directory name of the suite's base tree: another recipe, another name."""
    recipe = json.dumps([RECIPE, suite, PACKAGES, MASKED, FILES, REMOVED, plan.apt_sources(suite)])
    return f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def debootstrap_argv(suite: str, target: Path) -> list[str]:
    """Return the command that fills target; its mounts live in a namespace of their own."""
    return [
        "unshare",
        "--mount",
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        suite,
        str(target),
        f"{plan.MIRROR}/debian",
    ]


def ensure_all(where: plan.Paths, suites: Iterable[str]) -> dict[str, str]:
    """Return the base tree's name of each suite; what is missing is built side by side."""
    wanted = sorted(suites)
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
        return dict(zip(wanted, pool.map(lambda suite: ensure(where, suite), wanted)))


def ensure(where: plan.Paths, suite: str) -> str:
    """Return the name of the suite's base tree, building it when it is missing (under a minute)."""
    tree = where.bases / name(suite)
    if tree.is_dir():
        return tree.name
    started = time.monotonic()
    print(f"lab: building the base tree of {suite}", file=sys.stderr)
    group = Group(f"{BUILD}-{suite}")
    group.kill()
    new = where.bases / f"{tree.name}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    argv = group.argv(debootstrap_argv(suite, new))
    done = attempt(argv, timeout=900, env={"http_proxy": proxy.URL, "DEBIAN_FRONTEND": "noninteractive"})
    group.kill()
    log = where.bases / f"{suite}.log"
    log.write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        errors = "\n".join(line for line in log.read_text().splitlines() if line.startswith(("E:", "W:")))
        raise LabError(f"debootstrap {suite}: {last_line(errors) or last_line(log.read_text())} (see {log})")
    finish(new, suite)
    new.rename(tree)
    print(f"lab: base tree of {suite} built in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return tree.name


def finish(tree: Path, suite: str) -> None:
    """Turn debootstrap's result into a base tree: nothing of this machine, no identity, a quick boot."""
    for path in REMOVED:
        (tree / path).unlink(missing_ok=True)
    shutil.rmtree(tree / "var/lib/apt/lists")
    (tree / "var/lib/apt/lists").mkdir()
    # Old, so that Ansible's cache_valid_time does not take an empty directory for fresh lists.
    os.utime(tree / "var/lib/apt/lists", (0, 0))
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for package in (tree / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    for path, text in {**FILES, "etc/apt/sources.list.d/debian.sources": plan.apt_sources(suite)}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    units = tree / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    wanted = units / "multi-user.target.wants" / "systemd-networkd.service"
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.unlink(missing_ok=True)
    wanted.symlink_to("/lib/systemd/system/systemd-networkd.service")
