# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One PostgreSQL server on this host: where its files and programs are, and what state it is in."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import failure, run, tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import boot_guard_places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import refuse_impossible

try:
    import psycopg
except ImportError:
    psycopg = None

#: pg_controldata's words for a server that was stopped in good order.
CLEAN_STATES = ("shut down", "shut down in recovery")

_TELLING = re.compile(
    r"FATAL|PANIC|ERROR|HINT|DETAIL|unrecognized|invalid|incorrect|wrong size|unexpected|is from different"
)

#: Options of every module that works on one server; the doc fragment `server` describes them.
SERVER_OPTIONS: dict[str, dict[str, Any]] = {
    "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql"]},
    "data_dir": {"type": "path", "required": True},
    "config_dir": {"type": "path"},
    "bin_dir": {"type": "path"},
    "port": {"type": "int", "default": 5432},
    "socket_dir": {"type": "path", "default": "/var/run/postgresql"},
    "service": {"type": "str", "default": "process"},
    "login_user": {"type": "str", "default": "postgres"},
    "login_db": {"type": "str", "default": "postgres"},
}


def find_programs(version: int | None = None) -> str | None:
    """The directory of the server programs of `version` (a major number), or of the newest there is."""
    wanted = str(version) if version else "*"
    places = [*Path("/usr/lib/postgresql").glob(f"{wanted}/bin"), *Path("/").glob(f"usr/pgsql-{wanted}/bin")]
    found = [place for place in places if (place / "postgres").exists()]
    return str(max(found, key=lambda place: int(re.findall(r"\d+", str(place))[0]))) if found else None


#: A primary that was promoted lately has its new timeline in the second alone, until its next checkpoint is done.
_TIMELINES = ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")


def timeline_of(control: Mapping[str, str]) -> int:
    """The timeline that a server's control data says it is on, as `Server.control` gives them; 0 where they don't."""
    return max(int(control.get(name) or 0) for name in _TIMELINES)


def await_condition(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Poll until `condition` holds or `seconds` have passed; returns whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True


@contextlib.contextmanager
def _as_owner(data_dir: Path) -> Iterator[None]:
    """Be the account that owns the server where root asks: peer authentication knows that one, and not root."""
    if os.geteuid() != 0 or not data_dir.exists():
        yield
        return
    owner = data_dir.stat()
    group = os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


@dataclass(frozen=True)
class Server:
    """A server by its files. It may be running, stopped, or not there at all."""

    data_dir: Path
    config_dir: Path
    bin_dir: str
    port: int
    socket_dir: str
    service: str = "process"
    login_user: str = "postgres"
    login_db: str = "postgres"

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Server:
        """The server that a module's options name. Raises Refused for options that can't be."""
        refuse_impossible(params)
        data_dir = Path(params["data_dir"])
        config_dir = Path(params.get("config_dir") or data_dir)
        version = read_text(data_dir / "PG_VERSION").strip()
        major = int(version) if version.isdigit() else params.get("version")
        bin_dir = params.get("bin_dir") or find_programs(major) or ""
        return cls(
            data_dir=data_dir,
            config_dir=config_dir,
            bin_dir=bin_dir,
            port=params["port"],
            socket_dir=params["socket_dir"],
            service=params.get("service") or "process",
            login_user=params.get("login_user") or "postgres",
            login_db=params.get("login_db") or "postgres",
        )

    # --- files and programs ---------------------------------------------------------------------------------

    @property
    def log_file(self) -> Path:
        """Where a plain process writes before its logging collector runs, and what start-up errors are read from."""
        return self.data_dir.with_name(f"{self.data_dir.name}.log")

    @property
    def major(self) -> int:
        """The major version of the data directory, 0 where there is none."""
        version = read_text(self.data_dir / "PG_VERSION").strip()
        return int(version) if version.isdigit() else 0

    def program(self, name: str) -> str:
        """The path of a server program of this server's version."""
        return str(Path(self.bin_dir) / name) if self.bin_dir else name

    def program_major(self) -> int:
        """The major version of the server programs. Raises OpsError where there are none."""
        word = run([self.program("postgres"), "--version"]).stdout.split()[2]
        return int(re.findall(r"\d+", word)[0])

    def exists(self) -> bool:
        """Whether a data directory has been initialised here."""
        return (self.data_dir / "PG_VERSION").exists()

    def control(self) -> dict[str, str]:
        """pg_controldata's lines as a mapping, e.g. `{"Database cluster state": "shut down", …}`."""
        done = run([self.program("pg_controldata"), "-D", str(self.data_dir)])
        pairs = (line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
        return {key.strip(): value.strip() for key, value in pairs}

    def refusal_of(self, config_file: Path, data_dir: Path) -> str:
        """What the server's own program has against a configuration file, empty where it takes it. Touches nothing."""
        argv = [
            self.program("postgres"),
            "-D",
            str(data_dir),
            "-C",
            "data_directory",
            "-c",
            f"config_file={config_file}",
        ]
        done = run(argv, check=False)
        if done.returncode == 0:
            return ""
        told = [
            line.split(": ", 1)[-1].strip() for line in done.stderr.splitlines() if "LOG:" in line or "FATAL:" in line
        ]
        return "; ".join(line for line in told if line) or "no reason given"

    # --- state ----------------------------------------------------------------------------------------------

    def pid(self) -> int:
        """The postmaster's process id, 0 where none lives."""
        first = read_text(self.data_dir / "postmaster.pid").split("\n", 1)[0].strip()
        if not first.isdigit():
            return 0
        try:
            os.kill(int(first), 0)
        except ProcessLookupError:
            return 0
        except PermissionError:
            pass
        # A stale file after a power cut may name a stranger's process.
        with contextlib.suppress(OSError):
            if "postgres" not in Path(f"/proc/{first}/comm").read_text() and Path("/proc").exists():
                return 0
        return int(first)

    def running(self) -> bool:
        """Whether a postmaster lives on this data directory."""
        return self.pid() != 0

    def accepting(self) -> bool:
        """Whether the server answers connections, as pg_isready asks: it need not let anybody in."""
        require_psycopg()
        # Named, lest this account's own name leave a misleading FATAL in the log.
        account = {"user": self.login_user, "dbname": self.login_db}
        where = psycopg.conninfo.make_conninfo("", host=self.socket_dir, port=self.port, connect_timeout=2, **account)
        return bool(psycopg.pq.PGconn.ping(where.encode()) == psycopg.pq.Ping.OK)

    def await_ready(self, seconds: float) -> None:
        """Wait until the server accepts connections; raises OpsError with its last words when it does not."""
        in_time = await_condition(lambda: self.accepting() or not self.running(), seconds)
        if not in_time or not self.running():
            how = "ended while starting" if in_time else f"did not come up within {seconds:g} s"
            raise OpsError(f"the server on port {self.port} {how}: {self.last_words()}")

    def last_words(self) -> str:
        """The last errors of the start-up log, each once, with what follows a colon."""
        lines = read_text(self.log_file).splitlines()[-60:]
        telling = [
            line for before, line in zip(["", *lines], lines)
            if _TELLING.search(line) or (_TELLING.search(before) and before.endswith(":"))
        ]  # fmt: skip
        return tail("\n".join(dict.fromkeys(telling or lines))) or "its log says nothing"

    # --- SQL ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def connect(self, dbname: str = "", timeout: int = 10, **options: Any) -> Iterator[Any]:
        """An autocommit connection over the local socket. Raises OpsError with the engine's answer."""
        require_psycopg()
        try:
            with _as_owner(self.data_dir):
                connection = psycopg.connect(
                    host=self.socket_dir,
                    port=self.port,
                    user=self.login_user,
                    dbname=dbname or self.login_db,
                    connect_timeout=timeout,
                    application_name="boringdb.ops",
                    autocommit=True,
                    **options,
                )
        except psycopg.Error as exc:
            raise OpsError(f"cannot connect to port {self.port} in {self.socket_dir}: {one_line(exc)}") from exc
        try:
            yield connection
        except psycopg.Error as exc:
            raise OpsError(one_line(exc)) from exc
        finally:
            connection.close()

    # --- start and stop -------------------------------------------------------------------------------------

    def start(self, seconds: float, options: str = "") -> None:
        """Start it and wait until it accepts connections. Raises OpsError with its last words."""
        if self.service == "process":
            argv = [self.program("pg_ctl"), "start", "-D", str(self.data_dir), "-w", "-t", str(int(seconds))]
            argv += ["-s", "-l", str(self.log_file)]
            # pg_ctl hands -o to a shell.
            settings = f"-c config_file={shlex.quote(str(self.config_dir / 'postgresql.conf'))} {options}".strip()
            run([*argv, "-o", settings], daemon=True, check=False)
        else:
            self._start_unit(seconds)
        self.await_ready(seconds)

    def _start_unit(self, seconds: float) -> None:
        done = run(["systemctl", "start", self.service], timeout=seconds, check=False)
        if done.returncode != 0:
            against = boot_guard_places.words(self.service, self.data_dir)
            raise OpsError(f"the boot guard on {self.data_dir}: {against}" if against else failure(done))

    def stop(self, seconds: float, mode: str = "fast") -> None:
        """Stop it and wait for its end."""
        if self.service == "process":
            run([self.program("pg_ctl"), "stop", "-D", str(self.data_dir), "-m", mode, "-t", str(int(seconds)), "-w"])
        else:
            run(["systemctl", "stop", self.service], timeout=seconds)


#: What is wrong where psycopg 3 is missing, and what to do.
LACKING = (
    f"the Python library psycopg (version 3) is missing for {sys.executable}",
    "install the package python3-psycopg, or psycopg[binary] with pip",
)


def has_psycopg() -> bool:
    """Whether psycopg 3 is there."""
    return psycopg is not None


def require_psycopg() -> None:
    """Raise OpsError naming the package and the interpreter where psycopg 3 is missing."""
    if not has_psycopg():
        raise OpsError("; ".join(LACKING))


def one_line(error: BaseException) -> str:
    """An engine's error as one line."""
    return " ".join(str(error).split())
