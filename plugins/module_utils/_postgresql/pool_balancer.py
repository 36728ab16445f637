# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pool_balancer` for PostgreSQL: HAProxy and the program that it asks, on this host."""

from __future__ import annotations

import contextlib
import csv
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import alive, detach, environment, run, tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import pool_check, pool_haproxy
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import await_condition

_SECONDS = 5


class Balancer:
    """The one of a configuration: its files and what runs."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.wanted = pool_haproxy.wanted(params)
        self.config_file = Path(params["config_file"])
        self.folder = self.config_file.parent
        self.program_file = Path(params["check_program"])
        self.closed_file, self.state_file = self.folder / "boringdb-closed.state", Path(params["state_file"])
        self.check_file, self.pass_file = self.folder / "boringdb-check.json", self.folder / "boringdb-check.pass"

    def program(self) -> str | None:
        """Where HAProxy lies."""
        places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        return shutil.which(self.params["program"], path=places)

    def files(self) -> dict[Path, tuple[str, int]]:
        """All of them, with their modes; the password's is nobody's but the owner's."""
        return {
            self.program_file: (inspect.getsource(pool_check), 0o755),
            self.check_file: (json.dumps(self.wanted.check(), indent=1) + "\n", 0o644),
            self.pass_file: (self.params["check_password"] + "\n", 0o600),
            self.closed_file: (self.wanted.closed(), 0o644),
            self.config_file: (self.wanted.text(), 0o644),
        }

    def refuse_nonsense(self) -> None:
        """Have HAProxy judge it, beside the one in use."""
        beside = self.folder / f".{self.config_file.name}.{os.getpid()}.candidate"
        write_atomic(beside, self.wanted.text(), 0o644)
        try:
            done = run([self.program() or "haproxy", "-c", "-f", str(beside)], check=False, cwd="/", timeout=60)
        finally:
            beside.unlink()
        if done.returncode:
            told = [line for line in done.stderr.splitlines() if "ALERT" in line and "Fatal errors" not in line]
            words = tail("\n".join(told) or done.stderr).replace(str(beside), self.config_file.name)
            raise OpsError(f"HAProxy does not take the configuration: {words}")

    # --- what runs --------------------------------------------------------------------------------------------------

    def running(self) -> str:
        """The description of the configuration that is in force; nothing where none is."""
        with contextlib.suppress(OSError):
            for line in pool_check.command(self.params["stats_socket"], "show info").splitlines():
                name, _colon, value = line.partition(": ")
                if name == "description":
                    return value.strip()
        return ""

    def behind(self) -> bool:
        """Whether one runs with another configuration than the file's."""
        return self.running() not in ("", pool_haproxy.token_of(read_text(self.config_file)))

    def told(self) -> dict[str, Any]:
        """What the program tells; nothing where it does not answer."""
        url = f"http://127.0.0.1:{self.params['check_port']}/"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with (
            contextlib.suppress(OSError, ValueError),
            direct.open(url, timeout=self.params["check_timeout"] + 2) as answer,
        ):
            found: dict[str, Any] = json.loads(answer.read())
            return found
        return {}

    def stale(self, told: dict[str, Any]) -> bool:
        """Whether the program that runs is not the one on the disk, or was told another password."""
        if not told:
            return False
        written = self.pass_file.stat().st_mtime if self.pass_file.exists() else 0.0
        now = pool_check.digest(read_text(self.program_file), read_text(self.check_file))
        return told.get("digest") != now or bool(told["started"] < written)

    def await_both(self) -> list[dict[str, Any]]:
        """Wait until both run with what is on the disk; returns what is known of the members."""
        token, seconds = pool_haproxy.token_of(read_text(self.config_file)), self.params["timeout"]
        if not await_condition(lambda: bool(told := self.told()) and not self.stale(told), seconds, every=0.1):
            words = tail(read_text(self.folder / "check.log")) or "look at its log"
            raise OpsError(f"{self.program_file} does not answer on port {self.params['check_port']}: {words}")
        if not await_condition(lambda: self.running() == token, seconds, every=0.1):
            raise OpsError(f"HAProxy does not run with {self.config_file} after {seconds} s; look at its log")
        members: list[dict[str, Any]] = []

        def let_in() -> bool:
            members[:] = self.told().get("members", [])
            early = any(one["reads"] == pool_check.EARLY for one in members)
            return bool(members) and not _shut(members) and not early and self.heard(members)

        # The account comes to a replica with the WAL; to a delayed one, late. HAProxy asks in a rhythm of its own.
        await_condition(let_in, seconds, every=0.1)
        shut = _shut(members)
        if shut and not any(one["writes"] == "yes" for one in members):
            raise OpsError(f"{_told(shut)}; admit {self.params['check_user']} from this host")
        return members

    def heard(self, members: list[dict[str, Any]]) -> bool:
        """Whether HAProxy takes every member for what the program says of it."""
        with contextlib.suppress(OSError):
            rows = csv.DictReader(pool_check.command(self.params["stats_socket"], "show stat")[2:].splitlines())
            up = {(row["pxname"], row["svname"]) for row in rows if row["status"].startswith("UP")}
            word = {"rw": "writes", "ro": "reads"}
            return all(
                ((backend, one["name"]) in up) == (one[word[kind]] == "yes")
                for backend, kind in pool_haproxy.BACKENDS
                for one in members
            )
        return False

    # --- without a service manager ----------------------------------------------------------------------------------

    def _pid(self, name: str) -> int:
        with contextlib.suppress(ValueError, IndexError):
            pid = int(read_text(self.folder / name).split()[0])
            words = read_text(f"/proc/{pid}/cmdline") if alive(pid) else ""
            return pid if str(self.folder) in words else 0
        return 0

    def start(self, told: dict[str, Any]) -> None:
        """Have both run with what is on the disk."""
        if not told or self.stale(told):
            old = self._pid("check.pid")
            if old:
                # It keeps nothing, and one that hangs would not hear a milder word.
                os.kill(old, signal.SIGKILL)
                await_condition(lambda: not alive(old), _SECONDS)
            detach(self._serve)
        pool_check.save_state(self.params["stats_socket"], self.closed_file, self.state_file)
        if not self.running():
            pid_file = str(self.folder / "haproxy.pid")
            argv = [self.program() or "haproxy", "-W", "-D", "-f", str(self.config_file), "-p", pid_file]
            with (self.folder / "haproxy.log").open("w") as log:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=environment(), check=False,
                    start_new_session=True, timeout=self.params["timeout"],
                )  # fmt: skip
            if done.returncode:
                raise OpsError(f"HAProxy did not start: {tail(read_text(self.folder / 'haproxy.log'))}")
        elif self.behind() and (master := self._pid("haproxy.pid")):
            os.kill(master, signal.SIGUSR2)

    def _serve(self) -> None:
        """Become the program. Its words go to a log beside."""
        write_atomic(self.folder / "check.pid", f"{os.getpid()}\n", 0o644)
        log = os.open(self.folder / "check.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 2)
        python = self.params["check_python"] or sys.executable
        argv = [python, str(self.program_file), str(self.check_file)]
        os.execve(python, argv, environment())  # noqa: S606 - an argument list is what is wanted

    def stop(self) -> bool:
        """End both; returns whether one ran."""
        found = [pid for pid in (self._pid("haproxy.pid"), self._pid("check.pid")) if pid]
        for pid in found:
            os.kill(pid, signal.SIGTERM)
            if not await_condition(partial(_gone, pid), self.params["timeout"]):
                raise OpsError(f"process {pid} did not end; end it by hand")
        return bool(found)


def _shut(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that do not let the check in."""
    words = ("password authentication failed", "pg_hba")
    return [one for one in members if any(word in one["problem"] for word in words)]


def _told(shut: list[dict[str, Any]]) -> str:
    return f"the check is not let in: {'; '.join('{name}: {problem}'.format(**one) for one in shut)}"


def _warned(members: list[dict[str, Any]]) -> list[str]:
    return [f"{_told(shut)}; until it is, they are closed"] if (shut := _shut(members)) else []


def _gone(pid: int) -> bool:
    return not alive(pid)


def pool_balancer(params: Params, check_mode: bool) -> Outcome:
    """Do what the state asks."""
    balancer = Balancer(params)
    with host_lock(params["config_file"], f"pool_balancer, {params['state']}", 30):
        return _STATES[params["state"]](balancer, check_mode)


def _present(balancer: Balancer, check_mode: bool) -> Outcome:
    figures = [one.facts() for one in balancer.wanted.figures]
    outcome = Outcome(False, {"figures": figures, "reload_required": False, "check_restart_required": False})
    if balancer.program() and balancer.folder.is_dir():
        balancer.refuse_nonsense()
    elif not check_mode:
        raise OpsError(f"{balancer.params['program']}: no such program, or no {balancer.folder}; install haproxy first")
    for path, (text, mode) in balancer.files().items():
        now = read_text(path)
        if now == text and path.exists() and path.stat().st_mode & 0o777 == mode:
            continue
        outcome.changed = True
        secret = path == balancer.pass_file
        if path != balancer.program_file:
            outcome.diffs.append({
                "before_header": str(path), "after_header": str(path), "after": "…\n" if secret else text,
                "before": ("… before\n" if now else "") if secret else now,
            })  # fmt: skip
        if not check_mode:
            if path == balancer.config_file:
                _keep_foreign(path)
            path.parent.mkdir(mode=0o755, exist_ok=True)
            write_atomic(path, text, mode)
    outcome.facts["reload_required"] = balancer.behind()
    outcome.facts["check_restart_required"] = balancer.stale(balancer.told())
    return outcome


def _keep_foreign(path: Path) -> None:
    """What somebody wrote by hand is kept beside, once."""
    kept = path.with_name(f"{path.name}.before-boringdb")
    if path.exists() and not pool_haproxy.owner_of(path) and not kept.exists():
        write_atomic(kept, read_text(path), 0o600)


def _started(balancer: Balancer, check_mode: bool) -> Outcome:
    told = balancer.told()
    due = not told or balancer.stale(told) or not balancer.running() or balancer.behind()
    members: list[dict[str, Any]] = []
    if not check_mode:
        if due:
            balancer.start(told)
        members = balancer.await_both()
    return Outcome(due, {"members": members}, warnings=_warned(members))


def _settled(balancer: Balancer, check_mode: bool) -> Outcome:
    members = [] if check_mode else balancer.await_both()
    return Outcome(False, {"members": members}, warnings=_warned(members))


def _stopped(balancer: Balancer, check_mode: bool) -> Outcome:
    runs = any(balancer._pid(name) for name in ("haproxy.pid", "check.pid"))
    return Outcome(runs if check_mode else balancer.stop())


_STATES = {"present": _present, "started": _started, "settled": _settled, "stopped": _stopped}
