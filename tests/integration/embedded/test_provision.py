# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `provision` on the embedded ground: first, again, in check mode, with a member that comes later."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from estate import REPO, Estate

#: The shipped inventory before db2 was added to it.
_ONE_MEMBER = """#!/usr/bin/env python3
import json, subprocess
shown = json.loads(subprocess.run([{hosts!r}], stdout=subprocess.PIPE, check=True).stdout)
shown["orders"]["hosts"].remove("db2")
del shown["_meta"]["hostvars"]["db2"]
print(json.dumps(shown))
"""


def changed(output: str) -> dict[str, int]:
    """How many tasks changed something, by host."""
    recap = output[output.index("PLAY RECAP") :]
    return {host: int(count) for host, count in re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", recap, re.MULTILINE)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Estate]:
    """The ground with nothing on it. The tests below follow each other, as an operator's days do."""
    made = Estate()
    try:
        yield made
    finally:
        made.down()


def state(cluster: Estate) -> list[str]:
    """Everything that lies on the hosts but what Ansible itself needs."""
    keep = (cluster.home / ".ansible", cluster.holds)
    return [line for line in cluster.tree(cluster.home) if not line.startswith(tuple(map(str, keep)))][1:]


def configuration(cluster: Estate) -> list[str]:
    """What is declared on the members."""
    members = [cluster.home / name / "data" for name in ("db1", "db2")]
    files = [path for data in members for path in [*data.glob("*.conf"), *data.glob("conf.d/*")]]
    return cluster.tree(*files, *(data / "postmaster.pid" for data in members), cluster.home / "bin")


def test_check_mode_on_nothing_leaves_nothing(cluster: Estate) -> None:
    output = cluster.converge("provision", "--check", "--diff")
    assert state(cluster) == []
    assert changed(output)["db1"] > 0
    assert changed(output)["db2"] > 0


def test_one_member(cluster: Estate) -> None:
    inventory = cluster.logs / "inventory"
    inventory.mkdir()
    (inventory / "hosts").write_text(_ONE_MEMBER.format(hosts=str(REPO / "inventories/local/hosts")))
    (inventory / "hosts").chmod(0o755)
    (inventory / "group_vars").symlink_to(REPO / "inventories/local/group_vars")
    cluster.inventory = inventory
    output = cluster.converge("provision")
    assert changed(output)["db1"] > 0
    assert not (cluster.home / "db2").exists()
    info = cluster.module("instance_info", **cluster.server("db1"))["instance"]
    assert (info["state"], info["role"], info["archiver"]["mode"]) == ("running", "primary", "on")
    assert info["data_checksums"] is True
    cluster.sql("CREATE TABLE kept AS SELECT 1 AS a")
    assert set(changed(cluster.converge("provision")).values()) == {0}


def test_a_declared_tablespace(cluster: Estate) -> None:
    wanted = [{"name": "fast", "location": str(cluster.home / "spaces/fast")}]
    planned = cluster.converge("provision", "--check", postgresql_tablespaces=wanted)
    assert changed(planned)["db1"] == 2
    assert not (cluster.home / "spaces").exists()
    assert changed(cluster.converge("provision", postgresql_tablespaces=wanted))["db1"] == 2
    for words in ((), ("--check",)):
        assert set(changed(cluster.converge("provision", *words, postgresql_tablespaces=wanted)).values()) == {0}
    assert cluster.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'") == str(
        cluster.home / "spaces/fast"
    )
    # A replica on this same machine would write to the same directory.
    cluster.inventory = REPO / "inventories/local"
    done = cluster.play("provision", postgresql_tablespaces=wanted)
    assert "db1: it has tablespaces, and db2 of the same cluster is on the same machine" in done.told()
    assert not (cluster.home / "db2").exists()
    cluster.sql("DROP TABLESPACE fast")


def test_two_members_with_one_port_are_refused(cluster: Estate) -> None:
    done = cluster.play("provision", db_port=cluster.port + 1)
    assert f"db_port {cluster.port + 1} is also that of db2 on the same machine" in done.told()
    assert not (cluster.home / "db2").exists()


def test_a_member_that_comes_later(cluster: Estate) -> None:
    cluster.inventory = REPO / "inventories/local"
    pid = cluster.postmaster(cluster.home / "db1/data")
    cluster.converge("provision", "--check")
    assert not (cluster.home / "db2").exists()
    counts = changed(cluster.converge("provision"))
    assert (counts["db1"], counts["db2"] > 0) == (0, True)
    assert cluster.postmaster(cluster.home / "db1/data") == pid
    info = cluster.module("instance_info", **cluster.server("db2"))["instance"]
    assert (info["role"], info["upstream"]["status"], info["upstream"]["slot"]) == ("replica", "streaming", "db2")
    assert cluster.sql("SELECT a FROM kept", "db2") == "1"


def test_the_second_run_changes_nothing(cluster: Estate) -> None:
    before = configuration(cluster)
    for words in ((), ("--check", "-vvv")):
        counts = changed(cluster.converge("provision", *words))
        assert set(counts) >= {"db1", "db2"}
        assert set(counts.values()) == {0}
    assert configuration(cluster) == before


def test_a_cluster_that_is_not_seen_whole_is_refused(cluster: Estate) -> None:
    before = configuration(cluster)
    for member, unseen in (("db1", "db2"), ("db2", "db1")):
        done = cluster.play("provision", "--limit", member, postgresql_settings={"work_mem": "9MB"})
        assert done.code != 0
        assert [error.strip("'") for error in done.errors()] == [
            f"refused: {unseen} of orders could not be seen (unreachable, or cut away by --limit); "
            "nothing is changed in a cluster that is not seen whole"
        ]
    assert configuration(cluster) == before


def test_nothing_is_restarted_unless_it_is_asked_for(cluster: Estate) -> None:
    pids = {host: cluster.postmaster(cluster.home / host / "data") for host in ("db1", "db2")}
    # The first two are the inventory's own.
    wanted = {"shared_buffers": "64MB", "unix_socket_permissions": "0700", "max_connections": 120, "work_mem": "9MB"}
    output = cluster.converge("provision", postgresql_settings=wanted)
    for host, pid in pids.items():
        told = f"{host} awaits a restart: max_connections from 100 to 120; run the playbook restart"
        assert told in " ".join(output.split())
        assert cluster.postmaster(cluster.home / host / "data") == pid
        assert (cluster.sql("SHOW max_connections", host), cluster.sql("SHOW work_mem", host)) == ("100", "9MB")
    cluster.converge("provision", postgresql_settings=wanted, postgresql_restart=True)
    for host, pid in pids.items():
        assert cluster.postmaster(cluster.home / host / "data") not in (0, pid)
        assert cluster.sql("SHOW max_connections", host) == "120"
    info = cluster.module("instance_info", **cluster.server("db2"))["instance"]
    assert info["upstream"]["status"] == "streaming"


def test_no_secret_is_shown_or_world_readable(cluster: Estate) -> None:
    (secret,) = [path.read_text().split()[0] for path in Path(cluster.secrets).iterdir()]
    assert len(secret) == 32
    logs = [path.read_text() for path in cluster.logs.glob("provision-*.log")]
    assert any("module_args" in log for log in logs)  # one ran with -vvv
    assert not any(secret in log for log in logs)
    # A passfile writes a colon as \\: .
    spellings = {secret.encode(), secret.replace(":", "\\:").encode()}
    files = [path for path in cluster.home.rglob("*") if path.is_file()]
    holders = [path for path in files if any(spelling in path.read_bytes() for spelling in spellings)]
    assert [str(path.relative_to(cluster.home)) for path in holders] == ["db2/data.passfile"]
    assert holders[0].stat().st_mode & 0o077 == 0
