# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file, the lock and the control group discovery of the lab."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import cgroup, plan, state
from tests.lab.run import LabError
from tests.lab.state import Cut, Host, State

PG1 = Host("pg1", "10.213.77.11", "bookworm", "bookworm-0")


def test_the_state_survives_a_round_trip(tmp_path: Path) -> None:
    where = plan.Paths(tmp_path)
    lab = State({"pg1": PG1}, [Cut("pg1"), Cut("pg1", "pg2")])
    state.save(where, lab)
    assert state.load(where) == lab
    assert not where.state.with_suffix(".new").exists()


def test_no_file_is_no_lab(tmp_path: Path) -> None:
    assert state.load(plan.Paths(tmp_path)) == State()


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '{"version": 2, "hosts": [], "cuts": []}', '{"version": 1, "hosts": 3}']
)
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, text: str) -> None:
    where = plan.Paths(tmp_path)
    where.run.mkdir()
    where.state.write_text(text)
    with pytest.raises(LabError, match="run 'down' to start afresh"):
        state.load(where)


def test_an_unknown_host_is_named_with_those_that_exist() -> None:
    with pytest.raises(LabError, match=r"no host 'pg9' in the lab \(hosts: pg1\)"):
        State({"pg1": PG1}).host("pg9")


def test_a_cut_concerns_both_ends() -> None:
    assert Cut("pg1", "pg2").concerns("pg2")
    assert Cut("pg1", "pg2").concerns("pg1")
    assert not Cut("pg1").concerns("pg2")


def test_the_lock_keeps_a_second_process_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LOCK", tmp_path / "lock")
    program = (
        "import sys, pathlib\n"
        "from tests.lab import state\n"
        "state.LOCK, state.LOCK_SECONDS = pathlib.Path(sys.argv[1]), 0\n"
        "with state.lock('down'):\n"
        "    print('held')\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "lock")]
    root = Path(__file__).resolve().parents[3]
    with state.lock("up"):
        second = subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=30, check=False)
    assert "held" not in second.stdout
    assert "LabError: 'up' (process" in second.stderr
    third = subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=30, check=False)
    assert third.stdout == "held\n"


HYBRID = """\
30 20 0:26 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory
32 30 0:28 /docker/1 /sys/fs/cgroup/part rw shared:11 - cgroup2 cgroup2 rw
33 30 0:28 / /sys/fs/cgroup/unified rw shared:11 - cgroup2 cgroup2 rw
"""


def test_cgroup2_is_found_on_hybrid_and_unified_machines() -> None:
    assert cgroup.parse_mountinfo(HYBRID) == Path("/sys/fs/cgroup/unified")
    assert cgroup.parse_mountinfo("25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n") == Path("/sys/fs/cgroup")
    assert cgroup.parse_mountinfo("25 20 0:22 / /sys/fs/cgroup rw - cgroup cgroup rw\n") is None
