# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs run by argument lists: never through a shell, never outliving the worker that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError

_PR_SET_PDEATHSIG = 1
#: Programs speak English and UTC, because their answers are read.
_SPEAK = {"LC_ALL": "C", "LANG": "C", "TZ": "UTC"}


def _die_with_parent() -> None:
    """Ask the kernel to end this child when the worker dies, so that no orphan goes on writing."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


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
) -> subprocess.CompletedProcess[str]:
    """Run `argv` to its end and return it with its output as text.

    With `check`, an exit code other than 0 raises OpsError with the program's last words. `daemon` is for
    programs that leave a server behind: it must survive the worker, and must not hold its output pipes open.
    """
    pre: Callable[[], None] | None = None if daemon else _die_with_parent
    try:
        done = subprocess.run(
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
            preexec_fn=pre,
            check=False,  # the exit code is judged below
        )
    except FileNotFoundError as exc:
        raise OpsError(f"{argv[0]}: no such program; install the package that holds it or set bin_dir") from exc
    except PermissionError as exc:
        raise OpsError(f"{argv[0]}: not executable for this account ({exc.strerror})") from exc
    except subprocess.TimeoutExpired as exc:
        raise OpsError(f"{Path(argv[0]).name}: no end after {timeout:g} s; it was stopped") from exc
    if check and done.returncode != 0:
        raise OpsError(failure(done))
    return done


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """One line that tells which program failed, how, and what it said last."""
    name = Path(done.args[0]).name
    said = tail(done.stderr or "") or tail(done.stdout or "") or "it said nothing"
    return f"{name} exited {done.returncode}: {said}"
