# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs: how their ends, good and bad, are told, and that none outlives the worker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import failure, run, tail

from tests.modules import REPO, environment


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _await_end(pid: int) -> None:
    until = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < until, f"process {pid} lives on"
        time.sleep(0.01)


def test_output_input_and_surroundings(tmp_path: Path) -> None:
    done = run(
        ["sh", "-c", 'cat; echo "$LC_ALL $TZ $SECRET" >&2; pwd'], stdin="in\n", env={"SECRET": "s3"}, cwd=str(tmp_path)
    )
    assert done.stdout == f"in\n{tmp_path}\n"
    assert done.stderr == "C UTC s3\n"
    assert run(["cat"]).stdout == ""  # its standard input ends at once


@pytest.mark.parametrize("end", ["exit 0", "kill -9 $$"])
def test_what_a_guarded_program_has_started_ends_with_it(tmp_path: Path, end: str) -> None:
    # The child holds none of its pipes, so that nothing but the guard ties it to the program.
    script = f"sleep 300 </dev/null >/dev/null 2>&1 & echo $! >{tmp_path}/child; {end}"
    run(["sh", "-c", script], check=False, guarded=True)
    _await_end(int((tmp_path / "child").read_text()))


def test_arguments_are_never_a_shells() -> None:
    assert run(["echo", "$(id)", "a b", "'", ";false"]).stdout == "$(id) a b ' ;false\n"


def test_bytes_that_are_no_text_are_no_error() -> None:
    assert run(["printf", r"a\377b"]).stdout == "a\ufffdb"


def test_a_failing_programs_last_words_are_told() -> None:
    script = "echo started; for n in 1 2 3 4; do echo; echo error $n >&2; done; exit 3"
    with pytest.raises(OpsError, match=r"^sh exited 3: error 2 \| error 3 \| error 4$"):
        run(["/bin/sh", "-c", script])
    assert run(["sh", "-c", script], check=False).returncode == 3


def test_a_program_that_fails_in_silence() -> None:
    assert failure(run(["sh", "-c", "echo only output; exit 1"], check=False)) == "sh exited 1: only output"
    assert failure(run(["false"], check=False)) == "false exited 1: it said nothing"
    assert failure(run(["sh", "-c", "kill -9 $$"], check=False)) == "sh was killed by SIGKILL: it said nothing"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(OpsError, match=r"^/nowhere/initdb: no such program; install the package .* or set bin_dir$"):
        run(["/nowhere/initdb", "--version"])


def test_a_program_that_may_not_be_run_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "initdb"
    plain.write_text("#!/bin/sh\n")
    with pytest.raises(OpsError, match=f"^{plain}: not executable for this account"):
        run([str(plain)])


def test_a_program_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    begun = time.monotonic()
    with pytest.raises(OpsError, match=r"^sh: no end after 0.3 s; it was stopped$"):
        run(["/bin/sh", "-c", f"echo $$ > {note}; exec sleep 60"], timeout=0.3)
    assert time.monotonic() - begun < 10
    _await_end(int(note.read_text()))


_WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
run(["sh", "-c", 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 60', sys.argv[2]], daemon=sys.argv[3] == "daemon")
"""


@pytest.mark.parametrize("kind", ["child", "daemon"])
def test_a_child_dies_with_its_worker_and_a_daemon_does_not(tmp_path: Path, kind: str) -> None:
    note = tmp_path / "pid"
    words = [sys.executable, "-c", _WORKER, str(REPO / ".collections"), str(note), kind]
    with subprocess.Popen(words, env=environment()) as worker:
        until = time.monotonic() + 20
        while not note.exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        pid = int(note.read_text())
        worker.kill()
        worker.wait()
    if kind == "child":
        _await_end(pid)
    else:
        assert _alive(pid)
        assert os.getsid(pid) == pid  # a session of its own: the end of an SSH connection does not reach it
        os.kill(pid, signal.SIGKILL)
        _await_end(pid)


def test_a_daemons_server_does_not_hold_the_worker() -> None:
    begun = time.monotonic()
    done = run(["sh", "-c", "sleep 5 & echo lost"], daemon=True)
    assert (done.returncode, done.stdout, time.monotonic() - begun < 4) == (0, None, True)


def test_the_tail_of_a_text() -> None:
    assert tail("a\n\n  b  \n\nc\nd\n\n") == "b | c | d"
    assert tail("a\nb", 1) == "b"
    assert tail("") == ""


def test_nobody_looks_into_a_process_by_a_pattern() -> None:
    # pathlib's glob fails ("No such process") where a process ends between its list and the look at its file.
    code = [path for top in ("plugins", "tests") for path in (REPO / top).rglob("*.py")]
    assert code
    assert not [path for path in code if re.search(r"""Path\("/proc"\)\.glob\("[^"]*/""", path.read_text())]
