# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that are wrong: every module refuses them before it touches anything, in one line that says what and why.

One case is one line of a table: the module, what is changed in otherwise right options, and what the answer must hold.
Words in angle brackets stand for places of the ground.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from estate import Estate
from untouched import Untouched, bad, one_line

from tests.modules import OWNER, ROOT, programs

NAMES = {"time": "2026-11-21 08:00:00"}
HBA = {"type": "host", "database": "all", "user": "all", "address": "10.0.0.0/8", "method": "scram-sha-256"}
REFUSED = "refused: "


def hba(**wrong: Any) -> dict[str, Any]:
    """One rule with something wrong in it."""
    return {"hba": [{**HBA, **wrong}]}


INSTANCE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "port 0": ({"port": 0}, [REFUSED + "port 0 is none (give one from 1 to 65535)"]),
    "port 70000": ({"port": 70000}, ["port 70000 is none"]),
    "port no number": ({"port": "x"}, ["'port' is of type", "x"]),
    "data_dir relative": ({"data_dir": "data"}, ["data_dir 'data' is relative (give the whole path)"]),
    "data_dir with a quote": ({"data_dir": '/tmp/a"b'}, ["holds a quote or a control character"]),
    "data_dir with a line break": ({"data_dir": "/tmp/a\nb"}, ["holds a quote or a control character"]),
    "socket too long": ({"socket_dir": "/tmp/" + "s" * 100}, ["has more than 107 bytes (choose a shorter socket_dir)"]),
    "timeout 0": ({"timeout": 0}, ["timeout is 0 (give 1 or more)"]),
    "several": (
        {"port": 0, "data_dir": "data", "timeout": -1},
        ["refused for 3 reasons: ", "data_dir 'data' is relative", "port 0 is none", "timeout is -1"],
    ),
    "unknown option": ({"prot": 5432}, ["Unsupported parameters for", "prot"]),
    "unknown state": ({"state": "begun"}, ["value of state must be one of", "begun"]),
    "nothing there": ({"state": "started", "data_dir": "<bad>/none"}, ["/none holds no PostgreSQL data"]),
    "not empty": (
        {"state": "initialized", "data_dir": "<bad>/junk"},
        [REFUSED, "/junk is not empty and holds no PostgreSQL data (empty it or choose another data_dir"],
    ),
    "no programs": ({"state": "initialized", "data_dir": "<bad>/none", "bin_dir": "<bad>/junk"}, ["no initdb in"]),
    "programs of another version": (
        {"state": "initialized", "data_dir": "<bad>/none", "bin_dir": "<18>", "version": 16},
        ["are of version 18, not 16 (set bin_dir)"],
    ),
    "data of another version": (
        {"state": "initialized", "version": 17},
        ["data is of version 16, not 17 (correct the version; a new major version is an upgrade)"],
    ),
    "programs that don't fit the data": (
        {"state": "restarted", "bin_dir": "<18>"},
        ["are of version 18", "data is of 16"],
    ),
    "somebody else's data": (
        {"state": "started", "data_dir": "<bad>/others"},
        ["/others belongs to another account (set become_user to its owner)"],
    ),
}

CONFIG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown setting": (
        {"settings": {"work_memory": "1MB"}},
        ["nothing was changed", "unrecognized configuration parameter", "work_memory"],
    ),
    "invalid value": ({"settings": {"work_mem": "a lot"}}, ["nothing was changed", "work_mem"]),
    "value out of range": ({"settings": {"max_connections": 0}}, ["nothing was changed", "max_connections"]),
    "line break in a value": (
        {"settings": {"work_mem": "4MB\nfsync = off"}},
        ["work_mem: a value is one line (remove the line break)"],
    ),
    "line break in a name": ({"settings": {"work_mem\nfsync": "off"}}, ["is no setting's name"]),
    "no value": ({"settings": {"work_mem": None}}, ["work_mem has no value"]),
    "a list": (
        {"settings": {"shared_preload_libraries": ["a", "b"]}},
        ["shared_preload_libraries: a list is no value"],
    ),
    "several settings": (
        {"settings": {"work_mem": None, "a b": 1}, "file": "../x"},
        ["refused for 3 reasons: ", "work_mem has no value", "'a b' is no setting's name", "file '../x': only"],
    ),
    "address with a line break": (hba(address="all\nhost all all all trust"), ["hba rule 1: ", "is no address"]),
    "address without a length": (hba(address="10.0.0.1"), ["hba rule 1: '10.0.0.1' is no address"]),
    "address that is none": (hba(address="10.0.0.0/40"), ["hba rule 1: '10.0.0.0/40' is no address"]),
    "no address": (hba(address=None), ["hba rule 1: local rules, and only they, have no address"]),
    "peer over the network": (hba(method="peer"), ["hba rule 1: the method peer does not go with host"]),
    "cert without TLS": (hba(method="cert"), ["hba rule 1: the method cert does not go with host"]),
    "two words": (hba(user="a b"), ["hba rule 1: user 'a b' is not one word"]),
    "unknown method": (hba(method="password"), ["value of method must be one of"]),
    "no configuration there": (
        {"config_dir": "<bad>/junk"},
        ["junk holds no postgresql.conf (initialise the instance"],
    ),
}

REPLICA: dict[str, tuple[dict[str, Any], list[str]]] = {
    "slot's name": ({"slot": "DB-2"}, ["slot 'DB-2': only a-z, 0-9 and _ are allowed (choose another slot)"]),
    "slot with a line break": ({"slot": "db2\n"}, ["slot 'db2\\n'"]),
    "no slot": ({"slot": None}, ["missing", "slot"]),
    "wrong password": (
        {"replication_password": "wrong"},
        ["cannot reach the primary at 127.0.0.1", "password authentication failed"],
    ),
    "nobody there": ({"primary_port": 1}, ["cannot reach the primary at 127.0.0.1:1 as replicator"]),
    "primary's port": ({"primary_port": 70000}, ["primary_port 70000 is none"]),
    "another cluster's data": (
        {"data_dir": "<bad>/other"},
        ["/other holds another cluster's data (system identifier "],
    ),
    "data that was a primary's": (
        {"data_dir": "<home>/db1/data"},
        ["was last a primary of this cluster: two primaries"],
    ),
    "not empty": ({"data_dir": "<bad>/junk"}, ["/junk is not empty and holds no PostgreSQL data"]),
}

BACKUP: dict[str, tuple[dict[str, Any], list[str]]] = {
    "incremental before 17": ({"type": "incr"}, ["incr needs PostgreSQL 17, this is 16 (use type full)"]),
    "no repository": ({"backup_path": "<bad>/none"}, ["the repository can't be reached: no directory ", "/none"]),
    "repository and archive missing": (
        {"backup_path": "<bad>/none", "wal_path": "<bad>/gone"},
        ["refused for 2 reasons: ", "/none", "/gone"],
    ),
    "no place named": ({"backup_path": None, "wal_path": None}, ["tool native needs backup_path", "needs wal_path"]),
    "no stanza": ({"tool": "pgbackrest"}, ["tool pgbackrest needs stanza"]),
    "relative": ({"backup_path": "backup"}, ["backup_path 'backup' is relative"]),
    "negative time": ({"lock_timeout": -1}, ["lock_timeout is -1 (give 0 or more)"]),
    "no time to archive": ({"archive_timeout": 0}, ["archive_timeout is 0 (give 1 or more)"]),
    "on a replica": ({"<server>": "db2"}, ["this server is a replica (run the backup on the primary)"]),
    "nothing runs": ({"data_dir": "<bad>/other"}, ["no server runs on ", "/other (start it first)"]),
    "repository not writable": ({"backup_path": "<bad>/locked"}, ["/locked is not writable for "]),
}

RESTORE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "time without a target": (
        {"target_type": "time"},
        ["target_type is time but all of the following are missing: target"],
    ),
    "time without a zone": (
        {"target_type": "time", "target": "2026-11-21 08:00:00"},
        ["has no time zone; write 2026-11-21 08:00:00+00"],
    ),
    "no time": ({"target_type": "time", "target": "yesterday"}, ["target 'yesterday' is no time such as"]),
    "no LSN": ({"target_type": "lsn", "target": "0/xyz"}, ["target '0/xyz' is no LSN such as 0/3000060"]),
    "a target for latest": ({"target": "0/3000060"}, ["target '0/3000060' means nothing with target_type latest"]),
    "time in the future": (
        {"target_type": "time", "target": "2999-01-01 00:00:00+00"},
        ["is outside the window", "before the last archived"],
    ),
    "unknown restore point": ({"target_type": "name", "target": "nowhere"}, ["target nowhere is outside the window"]),
    "LSN beyond the archive": ({"target_type": "lsn", "target": "FF/0"}, ["the archive does not reach that far"]),
    "no timeline": (
        {"target_timeline": "newest"},
        ["target_timeline 'newest' is no timeline (give latest, current or"],
    ),
    "unknown timeline": ({"target_timeline": "99"}, ["timeline 99 does not descend from the backup's timeline"]),
    "time to live 0": ({"ttl_seconds": 0}, ["ttl_seconds is 0 (give 1 or more)"]),
    "time to live negative": ({"ttl_seconds": -5}, ["ttl_seconds is -5 (give 1 or more)"]),
    "port 70000": ({"port": 70000}, ["port 70000 is none"]),
    "port in use": ({"<port of>": "db1"}, ["is taken on this host; choose another"]),
    "seed": ({"seed": "dice"}, ["'seed' is of type", "dice"]),
    "several": (
        {"ttl_seconds": 0, "port": 0, "target_type": "lsn", "target": "here", "settings": {"port": 1}},
        [
            "refused for 4 reasons: ",
            "ttl_seconds is 0",
            "port 0 is none",
            "no LSN",
            "setting port: the restore sets it",
        ],
    ),
    "setting's name": ({"settings": {"work_mem\nfsync": "off"}}, ["is no setting's name"]),
    "setting of the isolation": (
        {"settings": {"listen_addresses": "*"}},
        ["setting listen_addresses: it isolates the copy (leave it out)"],
    ),
    "unknown setting": ({"settings": {"work_memory": "1MB"}}, [REFUSED, "unrecognized configuration parameter"]),
    "invalid setting": ({"settings": {"shared_buffers": "much"}}, [REFUSED, "shared_buffers"]),
    "not empty": ({"data_dir": "<bad>/junk"}, ["/junk is not empty; a restore never overwrites anything"]),
    "over a cluster": ({"data_dir": "<home>/db1/data"}, ["is not empty; a restore never overwrites anything"]),
    "removing what is no copy": (
        {"state": "absent", "data_dir": "<home>/db1/data"},
        ["was not put there by a restore; it is left alone"],
    ),
    "no repository": ({"backup_path": "<bad>/none"}, ["the repository can't be reached: no directory"]),
    "no archive": ({"wal_path": "<bad>/none"}, ["the WAL archive can't be reached: no directory"]),
    "empty repository": ({"backup_path": "<bad>/empty"}, ["no complete backup in the repository (it is empty)"]),
    "unknown backup": ({"backup": "20200101-000000F"}, ["no backup 20200101-000000F; there are "]),
    "another version's programs": ({"bin_dir": "<18>"}, ["the backup is of PostgreSQL 16", "are of 18"]),
    "another cluster": ({"expected_system_digest": "0" * 64}, [REFUSED, "is of another cluster"]),
    "place not writable": ({"data_dir": "<bad>/locked/drill/data"}, ["/locked is not writable for "]),
}

TABLES = {"instance": INSTANCE, "config": CONFIG, "replica": REPLICA, "backup": BACKUP, "restore": RESTORE}
CASES = [
    pytest.param(word, *case, id=f"{word}: {name}") for word, table in TABLES.items() for name, case in table.items()
]


@pytest.fixture(scope="module")
def untouched(estate: Estate) -> Iterator[Untouched]:
    """The places that the table names."""
    estate.start()
    (bad(estate, "junk") / "letter.txt").write_text("Dear operator")
    (bad(estate, "others") / "PG_VERSION").write_text("16\n")
    bad(estate, "empty")
    bad(estate, "locked").chmod(0o500 if not ROOT else 0o755)
    if ROOT:
        for name in ("junk", "empty"):
            shutil.chown(estate.home / "bad" / name, OWNER)
        shutil.chown(bad(estate, ""), OWNER)
    estate.module("instance", **{**estate.server(), "state": "initialized", "data_dir": str(estate.home / "bad/other")})
    yield Untouched(estate)
    shutil.rmtree(estate.home / "bad")


def resolved(estate: Estate, value: Any) -> Any:
    """A table's words in angle brackets as what they stand for."""
    if not isinstance(value, str):
        return value
    places = {"<bad>": str(estate.home / "bad"), "<home>": str(estate.home), "<18>": str(programs(18))}
    for word, place in places.items():
        value = value.replace(word, place)
    return value


def right(estate: Estate, word: str, server: str) -> dict[str, Any]:
    """Options that a module would take."""
    password = (estate.secrets / "replication").read_text().split()[0]
    primary = {"primary_address": "127.0.0.1", "primary_port": estate.server()["port"]}
    return {
        "instance": {**estate.server(server), "state": "started"},
        "config": {**estate.server(server)},
        "replica": {**estate.server("db2"), **primary, "slot": "db2", "replication_password": password},
        "backup": {**estate.server(server), **estate.repository()},
        "restore": {**estate.place(), **estate.repository()},
    }[word]


@pytest.mark.parametrize(("word", "wrong", "pieces"), CASES)
def test_refused(estate: Estate, untouched: Untouched, word: str, wrong: dict[str, Any], pieces: list[str]) -> None:
    if wrong.get("data_dir") == "<bad>/others" and not ROOT:
        pytest.skip("only root can give a directory to somebody else")
    options = right(estate, word, wrong.get("<server>", "db1"))
    if "<port of>" in wrong:
        options["port"] = estate.server(wrong["<port of>"])["port"]
    options.update({name: resolved(estate, value) for name, value in wrong.items() if name[0] != "<"})
    options = {name: value for name, value in options.items() if value is not None}
    result = estate.module(word, fails=True, **options)
    untouched.check()
    one_line(result["msg"], *pieces)
    assert "exception" not in result
