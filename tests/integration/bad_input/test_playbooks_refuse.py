# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks called wrongly, or on a cluster that a person has to look at first: refused, and nothing is done."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate import Estate
from untouched import Untouched, bad, one_line

from tests.modules import OWNER, ROOT, programs

NAME_IT = "name the cluster"
NO_CLUSTER = " is a group that Ansible makes itself, no cluster (name the group of one cluster)"

#: The playbook, words on its command line, variables, and what the only error must hold.
CASES: dict[str, tuple[str, list[str], dict[str, Any], list[str]]] = {
    "provision without a cluster": ("provision", [], {"cluster": None}, [NAME_IT]),
    "backup without a cluster": ("backup", [], {"cluster": None}, [NAME_IT]),
    "drill without a cluster": ("restore_drill", [], {"cluster": None}, [NAME_IT]),
    "provision of an unknown cluster": ("provision", [], {"cluster": "odrers"}, [NAME_IT]),
    "backup of an unknown cluster": ("backup", [], {"cluster": "odrers"}, [NAME_IT]),
    "drill of an unknown cluster": (
        "restore_drill",
        [],
        {"cluster": "odrers"},
        ["refused: no group odrers is in the inventory"],
    ),
    "provision of all hosts": ("provision", [], {"cluster": "all"}, [NO_CLUSTER]),
    "backup of all hosts": ("backup", [], {"cluster": "all"}, [NO_CLUSTER]),
    "backup of ungrouped hosts": ("backup", ["-i", "<estate>/loose.json"], {"cluster": "ungrouped"}, [NO_CLUSTER]),
    "drill of all hosts": ("restore_drill", [], {"cluster": "all"}, [NO_CLUSTER]),
    "provision of a part": (
        "provision",
        ["--limit", "db1"],
        {},
        ["refused: db2 of orders could not be seen", "--limit"],
    ),
    "backup of a part": ("backup", ["--limit", "db1"], {}, ["refused: db2 of orders could not be seen", "--limit"]),
    "backup where nothing runs": (
        "backup",
        ["-i", "<estate>/idle.json"],
        {"cluster": "idle"},
        ["refused: idle has no running primary (db3 is absent)"],
    ),
    "incremental before 17": ("backup", [], {"backup_type": "incr"}, ["refused: incr needs PostgreSQL 17, this is 16"]),
    "unknown kind of backup": ("backup", [], {"backup_type": "half"}, ["backup_type must be one of", "half"]),
    "two primaries": (
        "provision",
        ["-i", "<estate>/other.json"],
        {},
        ["refused: orders has more than one primary: db1, db3;"],
    ),
    "foreign data": (
        "provision",
        ["-i", "<estate>/junk.json"],
        {},
        ["refused: db3: it holds data of something else in", "nothing was changed"],
    ),
    "another version": (
        "provision",
        [],
        {"db_version": 18},
        ["refused: db1: its data is of PostgreSQL 16, db_version says 18", "the programs in", "are of PostgreSQL 16"],
    ),
    "no psycopg": (
        "provision",
        [],
        {"ansible_python_interpreter": "<estate>/bare/bin/python"},
        [
            "the Python library psycopg (version 3) is missing for ",
            "/bare/bin/python",
            "install the package python3-psycopg",
        ],
    ),
    "bad settings and rules": (
        "provision",
        [],
        {"postgresql_settings": {"work_memory": "1MB"}},
        ["unrecognized configuration parameter"],
    ),
    "an include among the settings": (
        "provision",
        [],
        {"postgresql_settings": {"include_dir": "/tmp"}},
        ["refused: include_dir: it says which files are read, and is no setting"],
    ),
    "a network without a length": (
        "provision",
        [],
        {"postgresql_networks": ["10.0.0.1"]},
        ["refused for 2 reasons: ", "10.0.0.1", "is no address"],
    ),
    "a port that is none": ("provision", [], {"db_port": 70000}, ["refused: port 70000 is none"]),
    "a tool that is none": ("provision", [], {"db_backup_tool": "barman"}, ["db_backup_tool", "barman"]),
    "drill of impossible things": (
        "restore_drill",
        [],
        {
            "restore_drill_target_type": "time",
            "restore_drill_port": 70000,
            "restore_drill_ttl": 0,
            "restore_drill_root": "drill",
        },
        [
            "refused: restore_drill_target is missing (restore_drill_target_type is time); ",
            "restore_drill_port 70000 is none (give one from 1 to 65535)",
            "restore_drill_root drill is relative",
            "restore_drill_ttl is 0 (give 1 or more)",
        ],
    ),
    "drill with checks that there are not": (
        "restore_drill",
        [],
        {"restore_drill_required": ["structure", "strukture"], "restore_drill_optional": ["invariant:balance"]},
        ["refused: no such check: invariant:balance, strukture (there are backup_bytes, "],
    ),
    "drill with a question without an answer": (
        "restore_drill",
        [],
        {"restore_drill_invariants": [{"name": "balance", "database": "shop", "query": "SELECT 1"}]},
        ["missing required arguments: expected found in invariants"],
    ),
    "drill to an unknown kind of target": (
        "restore_drill",
        [],
        {"restore_drill_target_type": "yesterday"},
        ["restore_drill_target_type must be one of"],
    ),
    "drill that nobody could sign": (
        "restore_drill",
        [],
        {"evidence_key": "<bad>/none.pem", "evidence_public_key": "<bad>/none.pub.pem"},
        ["refused: there is no signing key at", "/none.pem"],
    ),
    "drill with a key that others can read": (
        "restore_drill",
        [],
        {"evidence_key": "<bad>/open.pem"},
        ["open.pem has mode 0640 and is open to group or others"],
    ),
}


@pytest.fixture(scope="module")
def untouched(estate: Estate) -> Iterator[Untouched]:
    """Inventories with a third member that should not be one, and keys."""
    estate.start()
    data = str(bad(estate, "junk") / "data")
    Path(data).mkdir()
    Path(data, "letter.txt").write_text("Dear operator")
    other = {**estate.server(), "data_dir": str(estate.home / "bad/other"), "port": estate.port + 3, "timeout": 30}
    if ROOT:
        subprocess.run(["chown", "-R", OWNER, str(estate.home / "bad")], check=True)
    estate.module("instance", **other, state="initialized")
    rules = [{"type": "local", "database": "all", "user": "all", "method": "trust"}]
    place = {"port": other["port"], "unix_socket_directories": other["socket_dir"], "listen_addresses": ""}
    estate.module("config", **{key: other[key] for key in other if key != "timeout"}, settings=place, hba=rules)
    estate.module("instance", **other, state="started")
    for name, group, place in (
        ("other", "orders", other["data_dir"]),
        ("junk", "orders", data),
        ("idle", "idle", data + ".none"),
    ):
        host = {"db3": {"db_data_dir": place, "db_port": other["port"], "db_socket_dir": other["socket_dir"]}}
        inventory = {"embedded": {"children": {group: {"hosts": host}}}}
        (estate.logs / f"{name}.json").write_text(json.dumps({"all": {"children": inventory}}))
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    (estate.logs / "gone.json").write_text(json.dumps({"embedded": {"children": {"orders": {"hosts": {"db2": gone}}}}}))
    (estate.logs / "loose.json").write_text(json.dumps({"all": {"hosts": {"loose": {"ansible_connection": "local"}}}}))
    venv.create(estate.logs / "bare", symlinks=True)
    shutil.copy(estate.evidence / "key.pem", estate.home / "bad/open.pem")
    (estate.home / "bad/open.pem").chmod(0o640)
    shutil.copy(estate.evidence / "key.pub.pem", estate.home / "bad/open.pub.pem")
    yield Untouched(estate)
    estate.module("instance", **other, state="stopped", stop_mode="immediate")
    shutil.rmtree(estate.home / "bad")


@pytest.mark.parametrize(("playbook", "words", "variables", "pieces"), CASES.values(), ids=CASES)
def test_refused(
    estate: Estate, untouched: Untouched, playbook: str, words: list[str], variables: dict[str, Any], pieces: list[str]
) -> None:
    given = {name: _resolved(estate, value) for name, value in variables.items()}
    done = estate.play(playbook, *[_resolved(estate, word) for word in words], **given)
    untouched.check()
    assert done.code != 0, done.output
    assert "Traceback" not in done.output
    # Where both members stand in the way, each says so.
    errors = {error.replace("refused: db2:", "refused: db1:").replace("/db2/", "/db1/") for error in done.errors()}
    assert len(errors) == 1, done.output
    one_line(errors.pop(), *pieces)


@pytest.mark.parametrize("playbook", ["access", "backup", "provision", "restart", "rotate_password"])
def test_a_member_that_does_not_answer_ends_the_run(estate: Estate, untouched: Untouched, playbook: str) -> None:
    done = estate.play(playbook, "-i", str(estate.logs / "gone.json"))
    untouched.check()
    assert done.code != 0, done.output
    assert "fatal: [db2]: UNREACHABLE!" in done.output
    # Nor do the plays begin that are for other hosts than the members.
    assert done.output.count("PLAY [") == 1, done.output


def _resolved(estate: Estate, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    places = {"<bad>": str(estate.home / "bad"), "<estate>": str(estate.logs), "<18>": str(programs(18))}
    for word, place in places.items():
        value = value.replace(word, place)
    return value
