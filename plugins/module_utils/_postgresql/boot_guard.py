# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`boot_guard` for PostgreSQL on plain hosts: its program, what that goes by, and the addition to the server's unit."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run, tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import boot_guard_places as places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import boot_guard_program
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import path_fits
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

_PYTHON = "/usr/bin/python3"
_UNIT = """\
# Managed by boringdb.ops, the next run overwrites what is changed here.
[Unit]
Wants=network-online.target
After=network-online.target

[Service]
# A replica starts whatever becomes of the guard.{more}
ExecStartPre=+/bin/sh -c 'test -e "{data_dir}/standby.signal" || {python} -I "{program}" "{config}"{rule}'
"""
#: Under the rule open the guard's own verdict alone counts, not that its program is gone.
_OPEN = f" || test $$? -ne {boot_guard_program.REFUSED}"


class Installed:
    """The files of one unit's guard."""

    def __init__(self, server: Server, params: Params) -> None:
        self.server, self.params = server, params
        # A plain process is named by where its data is.
        self.name = str(server.data_dir).strip("/").replace("/", "-") if server.service == "process" else server.service
        self.program = Path(params["program"])
        self.config = places.config_file(self.name, params["directory"])
        self.passfile = self.config.with_name(f"{self.name}.pass")
        self.addition = Path(params["unit_directory"]) / f"{self.name}.service.d" / "boringdb-boot-guard.conf"

    def mine(self) -> dict[Path, tuple[str, int]]:
        """The files that are this unit's alone. A plain process has no unit to be added to."""
        server, params = self.server, self.params
        told = {
            "data_dir": str(server.data_dir), "bin_dir": params["bin_dir"] or "", "peers": params["peers"],
            "user": params["replication_user"], "passfile": str(self.passfile), "rule": params["rule"],
            "wait_seconds": params["wait_seconds"], "once_file": str(places.once_file(self.name)),
            "said_file": str(places.said_file(self.name)),
        }  # fmt: skip
        lines = [
            ":".join([_escaped(str(place["host"])), str(place["port"]), "*", _escaped(params["replication_user"]),
                      _escaped(params["replication_password"] or "")])
            for place in params["peers"].values()
        ]  # fmt: skip
        found = {
            self.config: (json.dumps(told, indent=1) + "\n", 0o644),
            self.passfile: ("\n".join([*lines, ""]), 0o600),
        }
        if server.service != "process":
            found[self.addition] = (self._unit(), 0o644)
        return found

    def _unit(self) -> str:
        opened = self.params["rule"] == "open"
        return _UNIT.format(
            more=" Where its program is missing, the rule open lets the server start." if opened else "",
            data_dir=_for_unit(self.server.data_dir), python=_PYTHON, program=_for_unit(self.program),
            config=_for_unit(self.config), rule=_OPEN if opened else "",
        )  # fmt: skip

    def write(self, place: Path, content: str, mode: int) -> None:
        """Put one there. The passfile is the account's that asks."""
        for folder in (place.parent.parent, place.parent):
            # Whatever the umask: the server's owner has to come to the passfile.
            if not folder.exists():
                folder.mkdir(parents=True)
                folder.chmod(0o755)
        write_atomic(place, content, mode)
        if place == self.passfile and os.geteuid() == 0:
            owner = self.server.data_dir.stat()
            os.chown(place, owner.st_uid, owner.st_gid)

    def right(self, place: Path, content: str, mode: int) -> bool:
        """Whether it is there as it has to be."""
        if read_text(place) != content:
            return False
        found, owner = place.stat(), self.server.data_dir.stat()
        return found.st_mode & 0o777 == mode and (place != self.passfile or found.st_uid == owner.st_uid)

    def heed(self) -> None:
        """Have systemd know the unit as it is now, also where an earlier run was killed before it could tell."""
        if self.server.service == "process":
            return
        shown = run(["systemctl", "show", "-p", "NeedDaemonReload", "-p", "DropInPaths", self.name], timeout=60).stdout
        # A directory that is new does not count as a need.
        known = str(self.addition) in shown.split("DropInPaths=", 1)[-1]
        if "NeedDaemonReload=yes" in shown or known != self.addition.exists():
            run(["systemctl", "daemon-reload"], timeout=60)

    def look(self) -> dict[str, Any]:
        """What every member answers, as the guard itself asks it."""
        done = run([_PYTHON, "-I", str(self.program), str(self.config), "--look"], check=False, timeout=60)
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise OpsError(f"the boot guard does not work on this host: {tail(done.stderr)}") from None
        return found


def boot_guard(params: Params, check_mode: bool) -> Outcome:
    """Have it, or have it no more."""
    server = Server.of(params)
    _refuse_nonsense(params)
    return (_absent if params["state"] == "absent" else _present)(server, params, check_mode)


def _refuse_nonsense(params: Params) -> None:
    preflight = Preflight()
    path_fits("program", params["program"], preflight)
    preflight.require(params["wait_seconds"] >= 1, f"wait_seconds is {params['wait_seconds']:g}", "give 1 or more")
    if params["state"] == "present":
        for name, place in params["peers"].items():
            port = str((place or {}).get("port", ""))
            good = bool((place or {}).get("host")) and port.isdigit() and 0 < int(port) < 65536
            preflight.require(good, f"the place of {name} is none", "give its host and port")
        preflight.require(bool(params["peers"]), "peers is empty: there is nobody to ask", "name the other members")
    preflight.done()


def _present(server: Server, params: Params, check_mode: bool) -> Outcome:
    guard = Installed(server, params)
    outcome = Outcome(facts={"answers": {}})
    wanted = {guard.program: (inspect.getsource(boot_guard_program), 0o755), **guard.mine()}
    for place, (content, mode) in wanted.items():
        if guard.right(place, content, mode):
            continue
        outcome.changed = True
        before, secret = read_text(place), place == guard.passfile
        outcome.diffs.append({
            "before_header": str(place), "after_header": str(place),
            "before": "" if not before else "passwords: others\n" if secret else before,
            "after": "passwords: as declared\n" if secret else content,
        })  # fmt: skip
        if not check_mode:
            guard.write(place, content, mode)
    if check_mode:
        return outcome
    guard.heed()
    outcome.facts["answers"] = guard.look()
    mute = [f"{name}: {one['problem']}" for name, one in outcome.facts["answers"].items() if one["problem"]]
    if mute:
        outcome.warnings.append(f"the boot guard gets no answer from {'; '.join(mute)}")
    return outcome


def _absent(server: Server, params: Params, check_mode: bool) -> Outcome:
    """The program stays: another unit may go by it, and nobody else runs it."""
    guard = Installed(server, params)
    # The addition first: a unit that runs a guard without its configuration would go by the rule.
    there = [place for place in (guard.addition, guard.config, guard.passfile) if place.exists()]
    lines = "".join(f"{place}: there\n" for place in there)
    if not check_mode:
        for place in there:
            place.unlink()
        guard.heed()
    return Outcome(bool(there), {"answers": {}}, lines, "")


def _escaped(word: str) -> str:
    """As a passfile has it."""
    return word.replace("\\", "\\\\").replace(":", "\\:")


def _for_unit(path: Path) -> str:
    """As a unit has a path, between the quotes of a shell's word."""
    return str(path).replace("%", "%%")
