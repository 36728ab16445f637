# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line. The last line of a changing verb starts with 'changed:' or 'unchanged:'."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence

from tests.lab import doctor, host, plan, state, verbs
from tests.lab.run import LabError


def parser() -> argparse.ArgumentParser:
    """Return the parser of every verb."""
    top = argparse.ArgumentParser(prog="lab", description="Real Debian hosts on this machine, for tests. Run as root.")
    sub = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, hosts: str | None = None) -> argparse.ArgumentParser:
        added = sub.add_parser(name, help=text, description=text)
        if hosts == "1":
            added.add_argument("host", metavar="HOST")
        elif hosts:
            added.add_argument("hosts", metavar="HOST", nargs=hosts)
        return added

    default = " ".join(plan.DEFAULT_HOSTS)
    up = verb(
        "up", f"create, boot and await hosts, HOST or HOST@SUITE (default: {default}); leaves hosts that are up", "*"
    )
    up.add_argument(
        "--suite", choices=list(plan.SUITES), help=f"Debian suite of the others (default: {plan.DEFAULT_SUITE})"
    )
    verb("down", "remove hosts with their disks; without a name everything but the caches", "*")
    verb("kill", "cut the power of hosts", "+")
    verb("start", "boot hosts that are off, from the same disk", "+")
    for name, text in (("cut", "drop every packet from and to a host"), ("heal", "end the cuts of a host")):
        pair = verb(name, text, "1")
        pair.add_argument(
            "--from", dest="other", metavar="OTHER", help=f"only between the two ({plan.CONTROLLER}: this machine)"
        )
    delay = verb("delay", "delay every packet to a host until it is booted again; 0 ends it", "1")
    delay.add_argument("milliseconds", type=int, metavar="MS")
    throttle = verb("throttle", "let no more than that to and from a host; 0 ends it", "1")
    throttle.add_argument("kilobytes", type=int, metavar="KB_PER_SECOND")
    status = verb("status", "show the hosts")
    status.add_argument("--json", action="store_true", help="machine-readable")
    for name, text in (("ssh", "run a command over SSH, or log in"), ("exec", "run a command inside, without network")):
        remote = verb(name, text, "1")
        remote.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")
    check = verb("doctor", "say whether this machine can run the lab, and why not")
    check.add_argument("--check", action="store_true", help="accepted for symmetry: doctor never changes anything")
    return top


def report(changed: list[str], started: float, otherwise: str) -> int:
    """Print the closing line."""
    if changed:
        print(f"changed: {', '.join(changed)} in {time.monotonic() - started:.1f} s")
    else:
        print(f"unchanged: {otherwise}")
    return 0


def run_doctor(where: plan.Paths) -> int:
    """Print every check; 1 when a needed one fails."""
    checks = doctor.examine(where)
    for check in checks:
        mark = "ok  " if not check.reason else "note" if check.optional else "FAIL"
        print(f"{mark} {check.name}{': ' + check.reason if check.reason else ''}")
    return int(any(check.reason and not check.optional for check in checks))


def run_status(where: plan.Paths, as_json: bool) -> int:
    """Print the hosts."""
    rows = verbs.status(where)
    if as_json:
        print(json.dumps({"run": str(where.run), "ssh_config": str(where.ssh_config), "hosts": rows}, indent=2))
    elif not rows:
        print("no lab")
    else:
        for row in rows:
            cut = row["cut_from"]
            off = (
                f"  cut from {', '.join('everything' if c == '*' else str(c) for c in cut)}"
                if isinstance(cut, list) and cut
                else ""
            )
            print(f"{row['name']:<12} {row['address']:<14} {row['suite']:<9} {row['power']}{off}")
    return 0


def change(args: argparse.Namespace, where: plan.Paths) -> int:
    """Run a verb that changes the lab, under the lock."""
    started = time.monotonic()
    actions: dict[str, Callable[[], list[str]]] = {
        "up": lambda: verbs.up(where, args.hosts or plan.DEFAULT_HOSTS, args.suite),
        "down": lambda: verbs.down(where, args.hosts),
        "kill": lambda: verbs.kill(where, args.hosts),
        "start": lambda: verbs.start(where, args.hosts),
        "cut": lambda: verbs.cut(where, args.host, args.other),
        "heal": lambda: verbs.heal(where, args.host, args.other),
        "throttle": lambda: verbs.throttle(where, args.host, args.kilobytes),
        "delay": lambda: verbs.delay(where, args.host, args.milliseconds),
    }
    otherwise = {"up": "all hosts are up", "down": "nothing to remove"}.get(args.verb, "already so")
    doctor.require_packages()
    with state.lock(args.verb):
        verbs.check_owner(where)
        return report(actions[args.verb](), started, otherwise)


def enter(args: argparse.Namespace, where: plan.Paths) -> int:
    """Replace this process by ssh or by a command inside the host."""
    each = state.load(where).host(args.host)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    argv = (
        verbs.ssh_argv(where, each.name, command)
        if args.verb == "ssh"
        else host.exec_argv(each, command or ["bash", "-l"])
    )
    os.execvp(argv[0], argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; 0 done, 1 failed (one line on standard error), 2 wrong usage."""
    args = parser().parse_args(argv)
    # Debian's administration programs, also for callers with a user's PATH.
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    try:
        where = plan.paths()
        if args.verb == "doctor":
            return run_doctor(where)
        doctor.require_root()
        if args.verb == "status":
            return run_status(where, args.json)
        if args.verb in {"ssh", "exec"}:
            return enter(args, where)
        return change(args, where)
    except (LabError, OSError) as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; run the verb again, or 'down'", file=sys.stderr)
        return 130
