# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs run by argument lists: never through a shell, never outliving the worker that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError

_PR_SET_PDEATHSIG = 1
#: Programs speak English and UTC, because their answers are read.
_SPEAK = {"LC_ALL": "C", "LANG": "C", "TZ": "UTC"}


def die_with_parent() -> None:
    """Ask the kernel to end this child when the worker dies, so that no orphan goes on writing."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def _guard() -> Iterator[Callable[[], None]]:
    """A process that ends a program's whole family when its worker or the program itself is killed.

    The kernel tells only a direct child of the worker's death. pg_basebackup's second process does not even notice its
    own parent's, and would stream WAL into a dead backup for ever. The guard is forked while the worker holds its lock,
    so it holds that lock too, until the family is gone. Yields what the program runs before its exec.
    """
    told, tell = os.pipe()
    guard = os.fork()
    if guard == 0:
        try:
            os.setsid()
            os.close(tell)
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            _watch_family(told)
        finally:
            os._exit(0)
    os.close(told)

    def join() -> None:
        die_with_parent()
        os.setpgid(0, 0)
        os.write(tell, os.getpid().to_bytes(8, "big"))

    try:
        yield join
    finally:
        with contextlib.suppress(BrokenPipeError):
            os.write(tell, b".")
        os.close(tell)
        os.waitpid(guard, 0)


def _watch_family(told: int) -> None:
    """End the family when the worker is gone or done with it, or when its first process is gone."""
    said = os.read(told, 8)
    if len(said) < 8:
        return
    leader = int.from_bytes(said, "big")
    while not select.select([told], [], [], 0.1)[0]:
        if not alive(leader):
            break
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(leader, signal.SIGKILL)
        except ProcessLookupError:
            return
        except PermissionError:
            pass
        if not _members(leader):
            return
        time.sleep(0.01)


def _stat(pid: int | str) -> list[str]:
    """What /proc tells of a process after its name: its state, parent, group and so on; nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def alive(pid: int | str) -> bool:
    """Whether a process runs. A dead one that nobody has waited for yet does not."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def born(pid: int) -> str:
    """When a process was started, in the kernel's ticks: with the number it names one process for ever."""
    return "".join(_stat(pid)[19:20])


def detach(work: Callable[[], None]) -> None:
    """Do `work` in a process of its own that outlives this one, its session and its controller."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.closerange(3, 1024)
        os.chdir("/")
        work()
    finally:
        os._exit(0)


def _members(group: int) -> list[int]:
    """The living processes of a process group."""
    ids = [int(place.name) for place in Path("/proc").glob("[0-9]*")]
    return [pid for pid in ids if _stat(pid)[2:3] == [str(group)] and alive(pid)]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child: this process's, in English and UTC, with `extra` (where secrets go)."""
    return {**os.environ, **_SPEAK, **(extra or {})}


def tail(text: str, lines: int = 3) -> str:
    """The last `lines` non-empty lines of `text`, joined into one."""
    return " | ".join([line.strip() for line in text.splitlines() if line.strip()][-lines:])


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float | None = None,
    stdin: str = "",
    cwd: str | None = None,
    daemon: bool = False,
    guarded: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `argv` to its end and return it with its output as text.

    With `check`, an exit code other than 0 raises OpsError with the program's last words. `daemon` is for
    programs that leave a server behind: it must survive the worker, and must not hold its output pipes open. `guarded`
    is for those that write for long or start processes of their own: they all end when the worker or the program does.
    """
    with _guard() if guarded else contextlib.nullcontext(None if daemon else die_with_parent) as before:
        done = _run(argv, env, timeout, stdin, cwd, daemon, before)
    if check and done.returncode != 0:
        raise OpsError(failure(done))
    return done


def _run(  # noqa: PLR0917 - one caller, a few lines above
    argv: Sequence[str],
    env: Mapping[str, str] | None,
    timeout: float | None,
    stdin: str,
    cwd: str | None,
    daemon: bool,
    before: Callable[[], None] | None,
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            list(argv),
            env=environment(env),
            input=stdin,
            stdout=subprocess.DEVNULL if daemon else subprocess.PIPE,
            stderr=subprocess.DEVNULL if daemon else subprocess.PIPE,
            timeout=timeout,
            cwd=cwd,
            text=True,
            errors="replace",
            start_new_session=daemon,
            preexec_fn=before,
            check=False,  # the exit code is judged below
        )
    except FileNotFoundError as exc:
        raise OpsError(f"{argv[0]}: no such program; install the package that holds it or set bin_dir") from exc
    except PermissionError as exc:
        raise OpsError(f"{argv[0]}: not executable for this account ({exc.strerror})") from exc
    except subprocess.TimeoutExpired as exc:
        raise OpsError(f"{Path(argv[0]).name}: no end after {timeout:g} s; it was stopped") from exc


def run_bytes(argv: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run `argv` to its end and return it with its output as bytes, whatever its exit code is."""
    try:
        return subprocess.run(
            list(argv),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            preexec_fn=die_with_parent,
            check=False,  # the caller judges the exit code
        )
    except FileNotFoundError as exc:
        raise OpsError(f"{argv[0]}: no such program; install the package that holds it") from exc
    except PermissionError as exc:
        raise OpsError(f"{argv[0]}: not executable for this account ({exc.strerror})") from exc


def killer(returncode: int) -> str:
    """The name of the signal that a negative exit code stands for."""
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """One line that tells which program failed, how, and what it said last."""
    name = Path(done.args[0]).name
    said = tail(done.stderr or "") or tail(done.stdout or "") or "it said nothing"
    if done.returncode < 0:
        return f"{name} was killed by {killer(done.returncode)}: {said}"
    return f"{name} exited {done.returncode}: {said}"
