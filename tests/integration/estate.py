# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One provisioned embedded cluster in a folder of its own, and what tests need to break it on purpose.

Playbooks run as a user runs them; modules also run alone. What a test only waits for is forked from a process that has
imported it all (see tests/warm.py); what it looks at while it runs starts as on a host.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import lock_path
from estate_runs import Played, Running, alive, await_

from tests.modules import OWNER, REPO, ROOT, as_owner, programs, result_of, warm
from tests.modules import command as module_command
from tests.modules import options as module_options
from tests.packed import packed
from tests.ports import free_ports

AS_OWNER = as_owner()


class Estate:
    """The cluster `orders` (db1, db2), its repository and the drill host, all below `home`."""

    members: tuple[str, ...] = ("db1", "db2")

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="bdbe-", dir="/tmp"))
        self.home.chmod(0o755)
        if ROOT:
            shutil.chown(self.home, OWNER)
        self.port = free_ports()
        self.evidence = Path(f"{self.home}.evidence")
        self.secrets = Path(f"{self.home}.secrets")
        self.logs = Path(f"{self.home}.logs")
        self.logs.mkdir()
        self.backups, self.wal = self.home / "repository/backup", self.home / "repository/wal"
        self.copy = self.home / "drill/orders/data"
        self.holds = self.home / "holds"
        self.inventory = REPO / "inventories/local"
        self.seen: set[bytes] = set()
        self._started: list[subprocess.Popen[str]] = []

    # --- Ansible --------------------------------------------------------------------------------------------

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a run; everything it starts can be known by it."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "ANSIBLE_"))}
        own = {
            "BORINGDB_HOME": str(self.home), "BORINGDB_PORT": str(self.port),
            "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"), **packed(),
            # Ansible leaves what it tells in a buffer where it writes to a file; tests read along.
            "ANSIBLE_NOCOLOR": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
            # Interpreters, programs to hold at, then the machine's own.
            "PATH": f"{self.holds}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        return {**inherited, **own, **more}

    def begin(self, playbook: str, *words: str, **variables: Any) -> Running:
        """Start a playbook in a session of its own. Its modules are files, by whose names they can be found."""
        return self._start(playbook, words, variables, ANSIBLE_PIPELINING="0")

    def _start(self, playbook: str, words: tuple[str, ...], variables: dict[str, Any], **env: str) -> Running:
        given = {"cluster": "orders", **variables}
        given = {name: value for name, value in given.items() if value is not None}
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.inventory)]
        argv += [str(REPO / "playbooks" / f"{playbook}.yml"), "-e", json.dumps(given), *words]
        return self._begin(argv, playbook, None, REPO, **env)

    def play(self, playbook: str, *words: str, **variables: Any) -> Played:
        """Run a playbook to its end. Its modules are forked, because nobody looks at them while they run.

        A test with an interpreter of its own says so with the variable, or gives None where its inventory does.
        """
        given = {"ansible_python_interpreter": str(warm().python), **variables}
        return self._start(playbook, words, given).end()

    def converge(self, playbook: str, *words: str, **variables: Any) -> str:
        """Run a playbook that has to succeed; returns its output."""
        done = self.play(playbook, *words, **variables)
        assert done.code == 0, done.output[-6000:]
        return done.output

    # --- modules --------------------------------------------------------------------------------------------

    def server(self, host: str = "db1") -> dict[str, Any]:
        """The options that name a member's server to a module."""
        number = self.members.index(host) + 1
        return {
            "data_dir": str(self.home / host / "data"), "socket_dir": str(self.home / host / "run"),
            "port": self.port + number, "bin_dir": str(programs()),
        }  # fmt: skip

    def repository(self) -> dict[str, Any]:
        """The options that name the repository."""
        return {"tool": "native", "backup_path": str(self.backups), "wal_path": str(self.wal)}

    def place(self) -> dict[str, Any]:
        """The options that name the drill's copy."""
        socket_dir = str(self.copy.with_name("run"))
        return {"data_dir": str(self.copy), "socket_dir": socket_dir, "port": self.port + 9, "bin_dir": str(programs())}

    def begin_module(self, word: str, *, python: str = sys.executable, cwd: str = "/", **options: Any) -> Running:
        """Start a module as its owner, without Ansible around it."""
        given = module_options({**options, "_ansible_remote_tmp": str(self.home)})
        return self._begin(module_command(word, python), word, given, Path(cwd))

    def module(self, word: str, fails: bool = False, **options: Any) -> dict[str, Any]:
        """Run a module to its end; returns its result."""
        given = module_options({**options, "_ansible_remote_tmp": str(self.home)})
        return result_of(word, warm().run(word, given, OWNER, self.environment()), fails)

    def _begin(self, argv: list[str], name: str, stdin: str | None, cwd: Path, **env: str) -> Running:
        handle, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".log", dir=self.logs)
        with os.fdopen(handle, "w") as log:
            popen = subprocess.Popen(
                argv, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=self.environment(**env), cwd=cwd, text=True, start_new_session=True,
            )  # fmt: skip
        if popen.stdin:
            popen.stdin.write(stdin or "")
            popen.stdin.close()
        self._started.append(popen)
        return Running(popen, Path(path))

    # --- the cluster ----------------------------------------------------------------------------------------

    def sql(self, text: str, host: str = "db1") -> str:
        """Run SQL; returns the bare answer."""
        where = self.server(host)
        words = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", where["socket_dir"], "-p", str(where["port"])]
        return self.run(str(programs() / words[0]), *words[1:], "-U", "postgres", "-d", "postgres", "-c", text).strip()

    def run(self, *argv: str) -> str:
        """Run a program as the servers' owner; returns its output."""
        words = [*AS_OWNER, *argv]
        done = subprocess.run(
            words, capture_output=True, text=True, cwd="/", env=self.environment(), check=False, timeout=120
        )
        assert done.returncode == 0, f"{argv[0]}: {done.stdout}{done.stderr}"
        return done.stdout

    def postmaster(self, data_dir: Path | str) -> int:
        """The process id of the server on a data directory, 0 where none lives."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(Path(data_dir, "postmaster.pid").read_text().split()[0])
            return pid if alive(pid) else 0
        return 0

    def start(self) -> None:
        """Start the members that an earlier test has left stopped."""
        for host in self.members:
            if not self.postmaster(self.server(host)["data_dir"]):
                self.module("instance", state="started", **self.server(host))

    def kill_server(self, data_dir: Path | str) -> None:
        """A crash: SIGKILL for every process of the server."""
        pids = self.processes_in(data_dir)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # PostgreSQL takes a dead process that nobody has waited for yet for a living one.
        await_(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of the server's processes")

    def processes_in(self, folder: Path | str) -> list[int]:
        """The processes whose working directory lies in a folder: servers work in their data directory."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str((process / "cwd").readlink()).removesuffix(" (deleted)").startswith(str(folder)):
                    found.append(int(process.name))
        return found

    def processes(self) -> dict[int, str]:
        """Everything that runs on our account but the members' servers, with its command line."""
        servers = {pid for host in self.members for pid in self.processes_in(self.home / host)}
        inside = set(self.processes_in(self.home))
        mark = f"BORINGDB_HOME={self.home}".encode()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pid = int(process.name)
                ours = mark in (process / "environ").read_bytes().split(b"\0") or pid in inside
                if ours and pid not in servers and alive(pid):
                    found[pid] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return found

    def backends(self, data_dir: Path | str) -> list[str]:
        """What the processes of a server say that they are doing."""
        lines = []
        for pid in self.processes_in(data_dir):
            with contextlib.suppress(OSError):
                lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return lines

    def verdicts(self) -> list[str]:
        """What the ledger says of every drill, the oldest first."""
        records = sorted((self.evidence / "ledger/orders").glob("*.dsse.json"))
        statements = (json.loads(base64.b64decode(json.loads(path.read_text())["payload"])) for path in records)
        return [statement["predicate"]["verdict"] for statement in statements]

    def process(self, *words: str) -> int:
        """Wait for a process with all these words in its command line; returns its id."""

        def look() -> int:
            fitting = (pid for pid, line in self.processes().items() if all(word in line for word in words))
            return next(fitting, 0)

        return int(await_(look, f"a process with {' '.join(words)}"))

    def worker(self, word: str) -> int:
        """Wait for a module of a run that was begun; returns the id of its process, not of the shells around it."""

        def look() -> int:
            programs = {pid: line.split()[1:2] for pid, line in self.processes().items()}
            return next((pid for pid, one in programs.items() if one and one[0].endswith(f"AnsiballZ_{word}.py")), 0)

        return int(await_(look, f"the module {word}"))

    # --- what must not be left ------------------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """What only an interrupted run leaves: processes, held locks, and files that are no one's result."""
        found = [f"process {pid}: {line[:200]}" for pid, line in self.processes().items()]
        patterns = ("repository/backup/*.partial", "repository/wal/.*",
                    "drill/*/data*", "*/data.cloning", "*/data.initializing", "*/data/.boringdb-candidate",
                    "drill/*/run/.s*")  # fmt: skip
        found += [str(path) for pattern in patterns for path in self.home.glob(pattern)]
        places = self.backups.glob(".tablespaces/*")
        found += [str(place) for place in places if not (self.backups / place.name).exists()]
        for thing in (self.backups, self.copy, *(self.home / host / "data" for host in self.members)):
            with contextlib.suppress(FileNotFoundError), lock_path(str(thing)).open() as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append(f"the lock of {thing} is held")
        return found

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Write down every command line that is seen on the machine meanwhile."""
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.01):
                for process in Path("/proc").glob("[0-9]*"):
                    with contextlib.suppress(OSError):
                        self.seen.add((process / "cmdline").read_bytes())

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            stop.set()
            watching.join()

    def assert_clean(self, seconds: float = 10) -> None:
        """Nothing is left. What was killed may take a moment to be gone."""
        until = time.monotonic() + seconds
        while self.leftovers() and time.monotonic() < until:
            time.sleep(0.02)
        assert self.leftovers() == []

    def tree(self, *places: Path) -> list[str]:
        """Every file below the places with its size and time, to tell whether anything was touched."""
        lines = []
        for path in sorted(path for place in places for path in [place, *place.rglob("*")]):
            with contextlib.suppress(FileNotFoundError):
                stat = path.lstat()
                content = f"{stat.st_size} {stat.st_mtime_ns}" if path.is_file() else ""
                lines.append(f"{path} {stat.st_mode:o} {content}")
        return lines

    def labels(self) -> list[str]:
        """The backups in the repository, the oldest first."""
        return sorted(
            path.name for path in self.backups.iterdir() if not path.name.startswith(".") and path.suffix != ".partial"
        )

    # --- up and down ----------------------------------------------------------------------------------------

    def up(self) -> None:
        """Provision it, put something in, and take one backup."""
        self.holds.mkdir()
        if ROOT:
            shutil.chown(self.holds, OWNER)
        with self.watched():
            self.converge("provision", "-vvv")
            self.converge("evidence_key")
        self.sql(
            "CREATE TABLE stock AS SELECT n AS id, repeat(md5(n::text), 8) AS note FROM generate_series(1, 60000) n"
        )
        with self.watched():
            self.converge("backup", "-vvv")

    def down(self) -> None:
        """Stop and remove all of it."""
        for popen in self._started:
            if popen.poll() is None:
                popen.kill()
                popen.wait()
        for host in self.members:
            self.kill_server(self.home / host)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for place in (self.home, self.evidence, self.secrets, self.logs):
            shutil.rmtree(place, ignore_errors=True)
