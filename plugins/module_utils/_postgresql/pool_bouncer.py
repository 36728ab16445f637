# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program pgbouncer on this host: what it thinks of a configuration, starting and stopping it.

It has no option that only checks a file. So a second one is started with the candidate, on a socket in a folder of its
own and nowhere else; what it shows of its settings is normalised by the program itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import die_with_parent, environment, run, tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import pool_ini
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import Address, Console
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import await_condition, require_psycopg

_PORT = 6432
_TELLING = re.compile(r"\b(?:ERROR|FATAL|WARNING)\b\s*(.*)")
#: What is another for the second one, so that it disturbs nobody. Their own values are compared as they are written.
ELSEWHERE = ("listen_addr", "unix_socket_dir", "pidfile", "logfile", "auth_file", "syslog", "so_reuseport", "user")


@dataclass(frozen=True)
class Judged:
    """A configuration that the program takes, as it shows it itself."""

    config: dict[str, dict[str, str]]
    databases: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Bouncer:
    """The pooler of one configuration."""

    program: str
    config_file: Path

    def found(self) -> str | None:
        """Where the program lies."""
        places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        return shutil.which(self.program, path=places)

    def judged(
        self, owner: str, databases: Mapping[str, Mapping[str, str]], settings: Mapping[str, str], users: Iterable[str]
    ) -> Judged:
        """Have the program read it, with users but without their secrets. Raises OpsError with what is against it."""
        require_psycopg()
        with tempfile.TemporaryDirectory(prefix="boringdb-pool-") as folder:
            scratch = Path(folder)
            own = {
                "listen_addr": "", "unix_socket_dir": folder, "pidfile": "", "logfile": f"{folder}/log",
                "auth_file": f"{folder}/users", "syslog": "0", "so_reuseport": "0",
            }  # fmt: skip
            wanted = {**{name: value for name, value in settings.items() if name != "user"}, **own}
            (scratch / "users").write_text(pool_ini.users_text(dict.fromkeys(users, "none")))
            (scratch / "ini").write_text(pool_ini.rendered(owner, databases, wanted))
            address = Address(folder, int(settings.get("listen_port") or _PORT))
            with self._second(scratch / "ini", address) as console:
                return Judged(console.config(), console.databases())

    @contextlib.contextmanager
    def _second(self, config: Path, address: Address) -> Iterator[Console]:
        # Until it has read where its log is, it tells what is wrong there.
        told = config.with_name("told")
        with told.open("w") as stream, subprocess.Popen(
            [self.found() or self.program, str(config)], env=environment(), stdin=subprocess.DEVNULL, stdout=stream,
            stderr=stream, cwd="/", preexec_fn=die_with_parent,  # noqa: PLW1509 - a module has one thread
        ) as process:  # fmt: skip
            try:
                with Console(address) as console:
                    # Its socket is there before anybody listens at it.
                    await_condition(lambda: answers(console) or process.poll() is not None, 10)
                    if process.poll() is not None:
                        raise OpsError(f"pgbouncer does not take the configuration: {last_words(told)}")
                    yield console
            finally:
                process.kill()

    def start(self, console: Console, seconds: float) -> None:
        """Start it as a plain process, and wait until its console answers. Raises OpsError with its last words."""
        settings = pool_ini.read(self.config_file).settings
        if not (settings.get("logfile") and settings.get("pidfile")):
            raise OpsError(f"{self.config_file} has no logfile and pidfile; a process without a unit needs both")
        run([self.found() or self.program, "-d", "-q", str(self.config_file)], daemon=True, check=False, cwd="/")
        if not await_condition(lambda: answers(console), seconds):
            log = Path(settings["logfile"])
            raise OpsError(f"{console} did not come up within {seconds:g} s: {last_words(log)}")

    def stop(self, console: Console, seconds: float) -> None:
        """Stop it at once: clients lose their connections."""
        # A signal would mean another thing from one version to the next.
        with contextlib.suppress(OpsError):
            console.send("SHUTDOWN")
        console.close()
        if not await_condition(lambda: not answers(console), seconds):
            raise OpsError(f"{console} did not end within {seconds:g} s; stop it by hand")


def answers(console: Console) -> bool:
    """Whether a pooler's console can be asked."""
    try:
        console.version()
    except OpsError:
        return False
    return True


def last_words(log: Path) -> str:
    """The last things that a log calls wrong, each once."""
    lines = read_text(log).splitlines()[-40:] if log.name and log.exists() else []
    told = [match.group(1).strip() for line in lines if (match := _TELLING.search(line))]
    return tail("\n".join(dict.fromkeys(told))) or "its log says nothing"
