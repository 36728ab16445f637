# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starting, finding and stopping the worker of a write probe.

A worker lives exactly while a flock is held on the pid file. The number in the file says whom to signal, and is
believed only while the lock is held and the process looks like a probe: a number left behind by a killed probe may
belong to somebody else by now.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from . import probe_check, probe_connect, probe_journal, probe_summary, probe_time, probe_worker
from .probe_journal import Layout
from .probe_time import Clock, ProbeError, one_line

STOP_PATIENCE = 15.0  # s: more than a worker needs to give up on hung connections


def acquire(layout: Layout, patience: float = 1.0) -> int | None:
    """Takes the directory's lock and writes our process id. Returns the descriptor, ``None`` when another holds it."""
    layout.create()
    until = time.monotonic() + patience
    while True:
        try:
            handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ProbeError(f"cannot open {layout.lock}: {exc.strerror}") from exc
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if layout.lock.exists() and layout.lock.stat().st_ino == os.fstat(handle).st_ino:
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
                return handle
        except OSError as exc:
            if exc.errno not in (errno.EAGAIN, errno.EACCES):
                os.close(handle)
                raise ProbeError(f"cannot lock {layout.lock}: {exc.strerror}") from exc
        os.close(handle)
        if time.monotonic() > until:  # a look by another process holds it for microseconds
            return None
        time.sleep(0.02)


def held(layout: Layout) -> bool:
    """Whether some process holds the lock."""
    try:
        handle = os.open(layout.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise ProbeError(f"cannot open {layout.lock}: {exc.strerror}: run as the user who started the probe") from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            return True
        raise ProbeError(f"cannot lock {layout.lock}: {exc.strerror}") from exc
    finally:
        os.close(handle)


def running(layout: Layout) -> int | None:
    """The living worker's process id, ``None`` when there is none.

    Raises ProbeError when the lock is held by something that is not a probe: nothing is signalled or started then.
    """
    if not held(layout):
        return None
    until = time.monotonic() + 1.0
    text = ""
    while not text and time.monotonic() < until:  # the holder writes its number right after it has the lock
        text = layout.lock.read_text("ascii", "replace").strip()
        if not text:
            time.sleep(0.01)
    command = _command(int(text)) if text.isdigit() else None
    if not text.isdigit() or (command is not None and not any("probe.py" in part for part in command)):
        if not held(layout):
            return None
        raise ProbeError(
            f"{layout.lock} is locked by a process that is not a probe (it names {text or 'nobody'}):"
            " find out what holds it, or use another directory"
        )
    return int(text)


def _command(pid: int) -> list[str] | None:
    """A process's arguments, ``None`` where they cannot be read (no /proc; the lock alone decides then)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").split("\0")
    except OSError:
        return [] if Path("/proc/self").is_dir() else None


def stop(layout: Layout) -> bool:
    """Ends the worker and waits until it has let go of the lock. Returns whether there was one."""
    pid = running(layout)
    if pid is None:
        return False
    for number, patience in ((signal.SIGTERM, STOP_PATIENCE), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError as exc:
            raise ProbeError(f"not allowed to stop the probe with process id {pid}: run as its user") from exc
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if not held(layout):
                return True
            time.sleep(0.02)
    raise ProbeError(f"the probe with process id {pid} did not end")


def remove(layout: Layout) -> bool:
    """Deletes what a probe keeps in the directory, and the directory if nothing else is in it.

    The worker must have been stopped. Returns whether there was anything.
    """
    paths = [path for path in _entries(layout.program) if path.name.startswith("probe")]
    paths += [path for path in _entries(layout.directory) if _ours(path.name)]
    try:
        for path in paths:
            path.unlink()
        for path in (layout.program, layout.directory):
            if path.is_dir() and not _entries(path):
                path.rmdir()
    except OSError as exc:
        raise ProbeError(f"cannot remove the probe's files in {layout.directory}: {exc.strerror}") from exc
    return bool(paths)


def leftovers(layout: Layout) -> bool:
    """Whether a probe's files lie in the directory."""
    return any(_ours(path.name) for path in _entries(layout.directory))


def _entries(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []


def _ours(name: str) -> bool:
    return name in ("probe.pid", "worker.log", "run.json", "run.json.new") or (
        name.startswith(("acks.", "errors.")) and name.endswith(".tsv")
    )


def install(layout: Layout, program: ModuleType) -> Path:
    """Writes the program's own sources below the directory and returns the path to run.

    An Ansible module lives in an archive that is deleted when it ends; the worker must not depend on it.
    """
    layout.create()
    layout.program.mkdir(mode=0o700, exist_ok=True)
    parts = (probe_check, probe_connect, probe_journal, probe_summary, probe_time, probe_worker, sys.modules[__name__])
    for part in (program, *parts):
        spec = importlib.util.find_spec(part.__name__)
        loader: Any = spec.loader if spec else None
        source = loader.get_source(part.__name__) if hasattr(loader, "get_source") else None
        if source is None:
            raise ProbeError(f"cannot read the source of {part.__name__}")
        path = layout.program / f"{part.__name__.rpartition('.')[2]}.py"
        path.with_suffix(".new").write_text(source, "utf-8")
        path.with_suffix(".new").replace(path)
    return layout.program / "probe.py"


def launch(program: Path, layout: Layout, arguments: list[str], secrets: dict[str, Any], wait: float) -> dict[str, Any]:
    """Runs ``probe.py run --detach`` and returns its answer (``run``, ``pid``, ``running`` if it ran already).

    The connection parameters go through standard input: neither arguments nor environment show them.
    """
    command = [sys.executable, "-B", str(program), "run", "--detach", "--settings", "-"]
    command += ["--directory", str(layout.directory), "--wait", f"{wait:g}", *arguments]
    try:
        done = subprocess.run(
            command, input=json.dumps(secrets), capture_output=True, text=True, timeout=wait + 60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ProbeError(f"cannot start the probe: {one_line(exc)}") from exc
    if done.returncode != 0:
        raise ProbeError(one_line(done.stderr) or f"the probe ended with status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def detach(work: Callable[[Callable[[dict[str, Any]], None]], None], log: Path, wait: float) -> dict[str, Any]:
    """Runs ``work`` in a process of its own session (double fork) and returns what it reports when it is ready.

    ``work`` gets the function to report with. Raises ProbeError with the worker's message when it fails before that,
    or says nothing for ``wait`` seconds. Returns in the parent only.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        if os.fork() == 0:
            _daemon(work, writer, log)
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    data = b""
    until = time.monotonic() + wait
    while not data.endswith(b"\n"):
        if not select.select([reader], [], [], max(0.0, until - time.monotonic()))[0]:
            raise ProbeError(f"the probe gave no sign within {wait:g} s: see {log}")
        chunk = os.read(reader, 65536)
        if not chunk:
            raise ProbeError(f"the probe ended at once: see {log}")
        data += chunk
    os.close(reader)
    answer: dict[str, Any] = json.loads(data)
    if "error" in answer:
        raise ProbeError(answer["error"])
    return answer


def _daemon(work: Callable[[Callable[[dict[str, Any]], None]], None], writer: int, log: Path) -> None:
    """The grandchild: no terminal, no standard streams of its starter. Never returns."""
    waiting = [writer]

    def report(answer: dict[str, Any]) -> None:
        if waiting:
            os.write(waiting[0], json.dumps(answer).encode() + b"\n")
            os.close(waiting.pop())

    status = 1
    try:
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for source, number in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, number)
        work(report)
        status = 0
    # Standard error is the log here; pylint takes it for a module's mistake.
    except ProbeError as exc:
        print(f"{probe_time.iso(Clock().now())} {exc}", file=sys.stderr, flush=True)  # pylint: disable=ansible-bad-function
        report({"error": str(exc)})
    except BaseException as exc:
        said = f"{type(exc).__name__}: {one_line(exc)}"
        print(f"{probe_time.iso(Clock().now())} {said}", file=sys.stderr, flush=True)  # pylint: disable=ansible-bad-function
        report({"error": f"the probe failed: {said}"})
    finally:
        os._exit(status)
