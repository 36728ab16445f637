# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook that another one runs: what it is given, what of it is told, and which drill still runs."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.action import failover_drill as action
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import born
from ansible_collections.boringdb.ops.plugins.plugin_utils import playbook

from tests.modules import REPO

#: As Ansible keeps what it was given.
GIVEN = {
    "inventory": ("/srv/inventory", "/srv/more"), "extra_vars": ("@/srv/vars.yml", "a=b"), "vault_ids": [],
    "vault_password_files": ["/srv/vault"], "private_key_file": "/srv/key", "remote_user": None, "forks": 5,
    "subset": "orders", "become": True, "become_user": None, "module_path": None, "ask_pass": False, "check": False,
}  # fmt: skip
FATAL = 'fatal: [db1]: FAILED! => {"changed": false, "msg": "refused:\\n  %s"}'


def test_it_is_given_what_the_running_one_was_given() -> None:
    argv = playbook.command(GIVEN, Path("/srv/switchover.yml"), {"switchover_candidate": "pg2"}, True)
    told = " ".join(argv)
    assert argv[:4] == [sys.executable, "-m", "ansible", "playbook"] and argv[-1] == "/srv/switchover.yml"
    assert "--inventory /srv/inventory --inventory /srv/more" in told and "--vault-password-file /srv/vault" in told
    assert "--private-key /srv/key" in told and "--limit orders" in told and "--become " in told and "--check" in argv
    assert "--user" not in argv and "--module-path" not in argv
    variables = [argv[number + 1] for number, word in enumerate(argv) if word == "--extra-vars"]
    assert variables[:2] == ["@/srv/vars.yml", "a=b"] and json.loads(variables[2]) == {"switchover_candidate": "pg2"}
    assert "--check" not in playbook.command(GIVEN, Path("/srv/switchover.yml"), {}, False)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, []),
        ({"ask_pass": True, "become_ask_pass": True}, ["--ask-pass", "--ask-become-pass"]),
        ({"vault_ids": ["prod@/srv/vault", "dev@prompt"]}, ["--vault-id dev@prompt"]),
    ],
)
def test_what_is_typed_can_not_be_passed_on(given: dict[str, Any], told: list[str]) -> None:
    assert playbook.unpassed({**GIVEN, **given}) == told


@pytest.mark.parametrize(
    ("lines", "code", "told"),
    [
        ([FATAL % "first", "...", FATAL % "last"], 2, "db1: refused: last"),
        (['failed: [db1 -> db2] (item=x) => {"msg": "no"}'], 2, "db1: no"),
        (["[ERROR]: no such inventory"], 4, "no such inventory"),
        (["fatal: [db1]: UNREACHABLE! => {broken"], 4, "db1: {broken"),
        (["what"], 250, "it exited 250"),
    ],
)
def test_its_error_is_told_in_one_line(lines: list[str], code: int, told: str) -> None:
    assert playbook.why(lines, code) == told


def test_its_plays_are_told_and_its_end_is_awaited() -> None:
    plays: list[str] = []
    script = "print('PLAY [One | Two] ****'); print('ok'); raise SystemExit(%d)"
    assert playbook.play([sys.executable, "-c", script % 0], 60, plays.append) == ""
    assert playbook.play([sys.executable, "-c", script % 3], 60, plays.append) == "it exited 3"
    assert plays == ["One | Two"] * 2
    told = playbook.play([sys.executable, "-c", "import time; time.sleep(600)"], 0.2, plays.append)
    assert told == "it was ended after 0.2 s; run the same command again"


def test_which_drill_still_runs() -> None:
    here, own = platform.node(), {"pid": os.getpid(), "born": born(os.getpid())}
    assert f"process {os.getpid()} of this" in action.runs({"controller": {"host": here, **own}}, 0)
    assert action.runs({"controller": {"host": here, **own, "born": "1"}}, 900) == ""
    elsewhere = {"controller": {"host": "elsewhere", **own}}
    assert "begun on elsewhere" in action.runs({**elsewhere, "noted": time.time()}, 900)
    assert action.runs({**elsewhere, "noted": time.time() - 901}, 900) == ""


def test_a_play_keeps_its_note_and_runs_another_playbook(tmp_path: Path) -> None:
    """The note is the first one's; a playbook that refuses is told, and fails nothing by itself."""
    word = "boringdb.ops.failover_drill"
    where = {"directory": str(tmp_path / "drill")}
    tasks: list[dict[str, Any]] = [
        {word: {"state": "noted", "fresh": True, "note": {"home": "db1"}, **where}},
        {word: {"state": "noted", "fresh": True, "note": {}, **where}, "register": "two", "ignore_errors": True},
        {word: {"state": "seen", **where}, "register": "seen"},
        {word: {"state": "ran", "playbook": "rejoin", "timeout": 60, **where}, "register": "ran"},
        {word: {"state": "cleared", **where}},
        {"ansible.builtin.debug": {"msg": "told={{ [two.msg, seen.runs, seen.note.home, ran.error] | to_json }}"}},
    ]
    book = tmp_path / "play.json"
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment = {"ANSIBLE_CONFIG": str(REPO / "ansible.cfg"), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", str(book)]
    argv += ["-e", json.dumps({"cluster": "nobodys", "ansible_python_interpreter": sys.executable})]
    done = subprocess.run(
        argv, env={**inherited, **environment}, cwd=REPO, text=True, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [text] = re.findall(r'"msg": ("told=.*")', done.stdout)
    second, runs, home, error = json.loads(json.loads(text).removeprefix("told="))
    assert second.startswith("refused: another drill has begun meanwhile") and home == "db1"
    assert runs.endswith("of this controller")
    assert "refused: nobodys is no group of the inventory" in error
    assert not (tmp_path / "drill").exists()
