# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that stop where a test wants them: scripts that come before the real ones on PATH and in bin_dir."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from estate import Estate
from estate_runs import await_

from tests.modules import programs

_HELD = """#!/bin/sh
case "$*" in *'{matching}'*) ;; *) exec {real} "$@" ;; esac
{before}
echo $$ > {at}.new && mv {at}.new {at}
read _ < {fifo}
exec {real} "$@"
"""


@dataclass
class Hold:
    """One program that is held."""

    at: Path
    fifo: Path

    def reached(self) -> int:
        """Wait until the program is there; returns its process id."""
        await_(self.at.exists, f"a call of {self.at.stem}")
        return int(self.at.read_text())

    def release(self) -> None:
        """Let it go on, if it waits."""
        with contextlib.suppress(OSError):
            handle = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
            os.write(handle, b"\n")
            os.close(handle)


def bin_dir(estate: Estate) -> str:
    """A directory with all server programs, of which those that are held or slowed are scripts."""
    for program in programs().iterdir():
        with contextlib.suppress(FileExistsError):
            (estate.holds / program.name).symlink_to(program)
    return str(estate.holds)


@contextlib.contextmanager
def held(estate: Estate, program: str, matching: str = "", before: str = ":") -> Iterator[Hold]:
    """Hold every call of `program` with `matching` in its arguments, after the shell line `before` was run."""
    hold = Hold(estate.holds / f"{program}.at", estate.holds / f"{program}.fifo")
    hold.at.unlink(missing_ok=True)
    os.mkfifo(hold.fifo)
    hold.fifo.chmod(0o666)
    real = _real(program)
    with _replaced(
        estate, program, _HELD.format(matching=matching, before=before, real=real, at=hold.at, fifo=hold.fifo)
    ):
        try:
            yield hold
        finally:
            hold.release()
            hold.fifo.unlink()


@contextlib.contextmanager
def slowed(estate: Estate, program: str, option: str) -> Iterator[None]:
    """Call `program` with one more option."""
    with _replaced(estate, program, f'#!/bin/sh\nexec {_real(program)} {option} "$@"\n'):
        yield


def _real(program: str) -> str:
    own = programs() / program
    return str(own) if own.exists() else str(shutil.which(program, path="/usr/bin:/bin"))


@contextlib.contextmanager
def _replaced(estate: Estate, program: str, script: str) -> Iterator[None]:
    bin_dir(estate)
    place = estate.holds / program
    place.unlink(missing_ok=True)
    place.write_text(script)
    place.chmod(0o755)
    try:
        yield
    finally:
        place.unlink()
        if (programs() / program).exists():
            place.symlink_to(programs() / program)
