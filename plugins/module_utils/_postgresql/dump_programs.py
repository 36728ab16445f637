# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_dump, pg_dumpall and pg_restore: how they are called, and what they say when they fail."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import environment, failure, run, tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

#: A database may be set to be read only; what loads it must not be.
LOADING = {"PGOPTIONS": "-c default_transaction_read_only=off"}
_COPY = re.compile(rb"^COPY (\S.*?) \(.*\) FROM stdin;$|^COPY (\S+)  ?FROM stdin;$")


def words(server: Server, program: str) -> list[str]:
    """A program with where it connects to."""
    where = ["-h", server.socket_dir, "-p", str(server.port), "-U", server.login_user, "--no-password"]
    return [server.program(program), *where]


def conninfo(database: str) -> list[str]:
    """Name a database to a program: a bare name with = in it would be read as a connection string."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return ["-d", f"dbname='{escaped}'"]


def major_of(server: Server, name: str) -> int:
    """The major version of a program. Raises OpsError where there is none."""
    said = run([server.program(name), "--version"]).stdout
    found = re.search(r"\) (\d+)", said)
    if not found:
        raise OpsError(f"{name} --version says {said.strip()!r}")
    return int(found.group(1))


def restore(server: Server, database: str, source: Path, *more: str, stdin: str = "") -> None:
    """Load what a dump holds, or stop at the first error, which OpsError names without any row's content."""
    argv = [*words(server, "pg_restore"), "--exit-on-error", *conninfo(database), *more, str(source)]
    done = run(argv, env=LOADING, stdin=stdin, guarded=True, check=False)
    if done.returncode == 0:
        return
    lines = done.stderr.splitlines()
    errors = [number for number, line in enumerate(lines) if "error: " in line]
    if done.returncode < 0 or not errors:
        raise OpsError(failure(done))
    # What follows it, details and context, may quote rows; what comes before it says where it was.
    entry = next((line for line in reversed(lines[: errors[0]]) if "from TOC entry" in line), "")
    at = re.sub(r"^.*from TOC entry \d+; \d+ \d+ ", " at ", entry)
    raise OpsError(
        f"pg_restore exited {done.returncode}{at}: {' '.join(lines[errors[0]].split('error: ', 1)[1].split())}"
    )


def contents(server: Server, source: Path) -> list[str]:
    """A dump's table of contents, line by line."""
    listed = run([server.program("pg_restore"), "-l", str(source)]).stdout.splitlines()
    return [line for line in listed if not line.startswith(";")]


def cancelled(server: Server) -> str:
    """What to do when a replica ends a dump that is in the way of its replay."""
    return (
        f"the dump was cancelled, because replay on the replica on port {server.port} could not wait any longer (raise "
        "max_standby_streaming_delay there, set hot_standby_feedback = on, or take the dump with dump_from=primary)"
    )


def dump(server: Server, argv: Sequence[str]) -> list[str]:
    """Run pg_dump or pg_dumpall; returns its warnings. Raises OpsError with what to do, in one line."""
    done = run(argv, check=False, guarded=True)
    if done.returncode == 0:
        return sorted({line.split("warning: ", 1)[1] for line in done.stderr.splitlines() if "warning: " in line})
    said = " ".join(done.stderr.split())
    if "conflict with recovery" in said or "due to recovery" in said:
        raise OpsError(cancelled(server))
    raise OpsError(f"{failure(done)}" if "error: " not in done.stderr else _first(done))


def _first(done: subprocess.CompletedProcess[str]) -> str:
    """The first error tells most: what follows is what it broke."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    first = next(number for number, line in enumerate(lines) if "error: " in line)
    return f"{Path(done.args[0]).name} exited {done.returncode}: {' | '.join(lines[first : first + 3])}"


def rows_in(server: Server, file: Path) -> dict[str, int]:
    """The rows of each table in a dump, which is read to its end for it. Raises OpsError where it can't be read."""
    argv = [server.program("pg_restore"), "--data-only", "-f", "-", str(file)]
    found: dict[str, int] = {}
    current = ""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as reading:
        output: Any = reading.stdout
        for raw in output:
            line = raw.rstrip(b"\n")
            if current:
                if line == b"\\.":
                    current = ""
                else:
                    found[current] += 1
                continue
            begun = _COPY.match(line)
            if begun:
                current = (begun.group(1) or begun.group(2)).decode()
                found[current] = 0
        errors: Any = reading.stderr
        said = errors.read().decode(errors="replace")
    if reading.returncode != 0:
        raise OpsError(f"{file} can't be read back: {tail(said)}")
    return found
