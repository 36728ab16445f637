# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot guard's own program, as systemd runs it: what it says where another member was promoted, or is silent."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from duo_ground import SECRET, Duo
from embedded_servers import Server, await_
from verify_ground import module


class Guarded(Duo):
    """Both have one."""

    def have(self, own: Server, other: Server, **options: Any) -> dict[str, Any]:
        """The guard of a server, which asks the other one."""
        given = {"peers": {"other": {"host": "127.0.0.1", "port": other.port}}, "replication_user": "guard",
                 "replication_password": SECRET, "wait_seconds": 1, "directory": str(own.socket_dir / "guard"),
                 "program": str(own.socket_dir / "guard/guard.py"), **options}  # fmt: skip
        return module(own, "boot_guard", **given)

    def config(self, own: Server) -> Path:
        """What the guard of a server goes by."""
        [found] = (own.socket_dir / "guard").glob("*.json")
        return found

    def verdict(self, own: Server) -> tuple[int, str]:
        """What the guard says now: how it ended, and its line."""
        program = str(own.socket_dir / "guard/guard.py")
        done = subprocess.run(["/usr/bin/python3", "-I", program, str(self.config(own))], capture_output=True,
                              text=True, check=False, timeout=60, cwd="/", env={"PGPORT": "1"})  # fmt: skip
        [line] = done.stderr.splitlines()
        assert line.startswith("boot guard: ") and not done.stdout
        return done.returncode, line


@pytest.fixture(scope="module")
def duo() -> Iterator[Guarded]:
    """Both run."""
    made = Guarded()
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_it_is_put_there_once_and_asks(duo: Guarded) -> None:
    dry = duo.have(duo.one, duo.two, check=True)
    assert dry["changed"] and not (duo.one.socket_dir / "guard").exists()
    assert SECRET not in json.dumps(dry)
    done = duo.have(duo.one, duo.two)
    assert done["answers"] == {"other": {"timeline": 1, "writes": False, "problem": ""}}
    assert not done.get("warnings")
    assert not duo.have(duo.one, duo.two)["changed"]
    [passfile] = (duo.one.socket_dir / "guard").glob("*.pass")
    assert passfile.stat().st_mode & 0o777 == 0o600
    assert "this" not in duo.config(duo.one).read_text()
    wrong = duo.have(duo.one, duo.two, replication_password="another one")
    assert wrong["changed"] and "password authentication failed" in wrong["answers"]["other"]["problem"]
    assert "the boot guard gets no answer from other: " in str(wrong["warnings"])
    assert "another one" not in json.dumps(wrong["diff"])
    assert duo.have(duo.one, duo.two)["changed"]
    assert "peers is empty" in duo.have(duo.one, duo.two, peers={}, fails=True)["msg"]


def lines_of(duo: Guarded, rule: str) -> str:
    """The command by which systemd runs it, as the shell gets that."""
    given = {"service": "postgresql@16-one", "unit_directory": str(duo.home / "units"), "rule": rule}
    dry = duo.have(duo.one, duo.two, check=True, **given)
    [text] = [one["after"] for one in dry["diff"] if one["after_header"].endswith(".d/boringdb-boot-guard.conf")]
    assert SECRET not in text and "After=network-online.target" in text
    [command] = re.findall(r"^ExecStartPre=\+/bin/sh -c '(.*)'$", text, re.MULTILINE)
    return str(command.replace("$$", "$"))


@pytest.mark.parametrize("rule", ["open", "closed"])
def test_a_replica_starts_whatever_becomes_of_the_guard(duo: Guarded, rule: str) -> None:
    """Nothing of the guard is there in this place."""
    command = lines_of(duo, rule).replace(str(duo.one.socket_dir / "guard"), str(duo.home / "gone"))

    def ends(given: str) -> int:
        return subprocess.run(["/bin/sh", "-c", given], check=False, capture_output=True, timeout=60).returncode

    assert ends(command.replace(str(duo.one.data_dir), str(duo.two.data_dir))) == 0
    assert (ends(command) == 0) is (rule == "open")


def test_a_primary_starts_where_the_others_know_of_nothing_newer(duo: Guarded) -> None:
    code, line = duo.verdict(duo.one)
    assert (code, line) == (0, "boot guard: started as a primary: other know of no newer timeline than 1")


def test_a_peer_that_is_silent_leaves_it_to_the_rule(duo: Guarded) -> None:
    """It hangs: the kernel takes connections for it."""
    assert duo.two.pid
    os.kill(duo.two.pid, signal.SIGSTOP)
    try:
        code, line = duo.verdict(duo.one)
        assert code == 0
        assert "started as a primary, unconfirmed: no other member answered within 1 s (other: " in line
        duo.have(duo.one, duo.two, rule="closed")
        code, line = duo.verdict(duo.one)
        assert code == 3
        assert "NOT started as a primary: no other member answered within 1 s (other: " in line
        assert "and the rule is closed. Start one of them. Where no other one takes writes" in line
    finally:
        os.kill(duo.two.pid, signal.SIGCONT)
    assert duo.verdict(duo.one)[0] == 0


def test_a_primary_that_was_replaced_does_not_start(duo: Guarded) -> None:
    """Its rule is closed. The new one finds its own timeline before it has written a checkpoint of that."""
    duo.one.psql("CREATE TABLE much AS SELECT repeat('x', 1000) AS a FROM generate_series(1, 4000)")
    await_(lambda: duo.two.psql("SELECT to_regclass('much')") == "much", what="the table")
    duo.one.stop("kill")
    code, line = duo.verdict(duo.one)
    assert code == 0, "the other one is a replica still"
    duo.two.psql("SELECT pg_promote()")
    duo.have(duo.two, duo.one, rule="open")
    code, line = duo.verdict(duo.one)
    assert code == 3
    assert re.search(r"NOT started as a primary: other \(127.0.0.1:\d+\) is on timeline 2, and this server", line)
    assert "playbook rejoin" in line
    assert "as a replica" in line and "touch /run/boringdb-boot-guard." in line
    duo.two.stop("kill")
    control = duo.two.run("pg_controldata", "-D", duo.two.data_dir)
    assert re.search(r"^Latest checkpoint's TimeLineID: +1$", control, re.MULTILINE), "the test proves nothing"
    duo.one.start()
    code, line = duo.verdict(duo.two)
    assert code == 0
    assert "know of no newer timeline than 2; other takes writes on the older timeline 1: stop it" in line
    duo.one.stop("immediate")
    duo.two.start()


def test_signals_and_a_person_let_it_pass(duo: Guarded) -> None:
    assert duo.verdict(duo.one)[0] == 3
    for name in ("standby.signal", "recovery.signal"):
        (duo.one.data_dir / name).touch()
        assert duo.verdict(duo.one) == (0, f"boot guard: nobody is asked: {name} is there")
        (duo.one.data_dir / name).unlink()
    told = json.loads(duo.config(duo.one).read_text())
    once = duo.home / "once"
    duo.config(duo.one).write_text(json.dumps({**told, "once_file": str(once)}))
    once.touch()
    assert duo.verdict(duo.one) == (0, f"boot guard: nobody is asked: {once} was there")
    assert not once.exists()
    assert duo.verdict(duo.one)[0] == 3
    once.touch()
    os.utime(once, (0, 0))
    assert duo.verdict(duo.one)[0] == 3, "one that was left is too old"
    assert not once.exists()
    again = duo.have(duo.one, duo.two, state="absent")
    assert again["changed"] and not list((duo.one.socket_dir / "guard").glob("*.json"))
    assert not duo.have(duo.one, duo.two, state="absent")["changed"]


def test_a_guard_that_fails_itself_says_so(duo: Guarded) -> None:
    """A configuration that is none: then the unit goes by the rule."""
    duo.have(duo.one, duo.two)
    duo.config(duo.one).write_text("{")
    code, line = duo.verdict(duo.one)
    assert code not in (0, 3) and "it failed itself: JSONDecodeError" in line
