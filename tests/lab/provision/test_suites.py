# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cluster on each newer Debian suite, side by side: provisioned, backed up, drilled, converged.

A suite has three hosts: a primary, its replica, and one that holds the repository and is the drill host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab.cluster import SID, TRIXIE, Suite
from tests.lab.estate import Estate, changed, lab_hosts

pytestmark = pytest.mark.lab


@dataclass
class Ground:
    """A suite, and what became of the cluster on it."""

    suite: Suite
    said: dict[str, str] = field(default_factory=dict)
    estate: Estate = field(init=False)

    @property
    def hosts(self) -> list[str]:
        """The primary, its replica, and last the host of the repository and of drills."""
        return [f"prov{self.suite.name[0]}{which}" for which in ("1", "2", "v")]

    @property
    def cluster(self) -> str:
        return f"on_{self.suite.name}"

    def describe(self) -> None:
        """Write the inventory."""
        at = {name: {"ansible_host": self.estate.addresses[name]} for name in self.hosts}
        vault = {self.hosts[-1]: at.pop(self.hosts[-1])}
        groups: dict[str, Any] = {
            self.cluster: {"hosts": at, "vars": {**self.suite.members, "db_rto_seconds": 300}},
            "repository_hosts": {"hosts": vault},
            "drill_hosts": {"hosts": vault},
        }
        self.estate.describe(groups, backup_repository_host=self.hosts[-1])

    def play(self, what: str, playbook: str, *words: str) -> None:
        self.said[what] = self.estate.play(playbook, *words, cluster=self.cluster)

    def live(self) -> None:
        """All that one does with a cluster, once."""
        primary = self.hosts[0]
        self.play("provision", "provision")
        self.play("key", "evidence_key")
        self.estate.sql(
            primary, "CREATE TABLE sale AS SELECT n AS id, md5(n::text) AS what FROM generate_series(1, 20000) n"
        )
        self.play("backup", "backup")
        later = [f"INSERT INTO sale VALUES ({30000 + number}, 'later'); SELECT pg_sleep(0.1);" for number in range(20)]
        self.estate.sql(primary, "\n".join(later))
        self.estate.on(self.hosts[-1], f"su postgres -c 'pgbackrest --stanza={self.cluster} check'")
        self.play("drill", "restore_drill", "-e", "restore_drill_target_type=random")
        self.play("again", "provision")
        self.play("check", "provision", "--check")


SUITES = {one.name: Ground(one) for one in (TRIXIE, SID)}


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ground]]:
    """Every suite's cluster at the end of its life, all of them at once."""
    hosts = [host for ground in SUITES.values() for host in ground.suite.hosts(*ground.hosts)]
    with lab_hosts(tmp_path_factory.mktemp("suites"), *hosts) as it:
        for name, ground in SUITES.items():
            ground.estate = Estate(tmp_path_factory.mktemp(name))
            ground.estate.addresses, ground.estate.ssh_config = it.addresses, it.ssh_config
            ground.describe()
        with ThreadPoolExecutor() as pool:
            list(pool.map(Ground.live, SUITES.values()))
        yield SUITES


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest, suites: dict[str, Ground]) -> Ground:
    found: Ground = suites[request.param]
    return found


def test_the_packages_are_of_the_versions_that_the_support_matrix_names(suite: Ground) -> None:
    primary, _replica, vault = suite.hosts
    suite.suite.is_on(suite.estate, primary, vault)


def test_pages_have_checksums_and_a_replica_streams(suite: Ground) -> None:
    primary, replica, _vault = suite.hosts
    assert suite.estate.sql(primary, "SHOW data_checksums") == "on"
    streams = suite.estate.sql(primary, "SELECT application_name, state FROM pg_stat_replication")
    assert streams == f"{replica}|streaming"
    assert suite.estate.sql(replica, "SELECT count(*) FROM sale") == "20020"


def test_a_drill_to_a_random_moment_is_verified(suite: Ground) -> None:
    record = suite.estate.record(suite.cluster)
    assert record["verdict"] == "verified"
    assert record["measurements"]["target_type"] == "time"
    assert record["measurements"]["rows_checked"] > 20000
    assert str(record["versions"]["engine"]) == str(suite.suite.postgresql)
    told = {check["name"]: check["status"] for check in record["checks"]}
    wanted = {
        "target_reached",
        "wal_continuity",
        "isolation",
        "repository_bytes",
        "structure",
        "page_checksums",
        "teardown",
    }
    assert wanted <= set(told), sorted(told)
    assert {name for name, status in told.items() if status == "failed"} == set()
    assert re.search(rf"{suite.cluster} verified", suite.said["drill"])


@pytest.mark.parametrize("what", ["again", "check"])
def test_a_converged_cluster_is_left_alone(suite: Ground, what: str) -> None:
    assert changed(suite.said[what]) == dict.fromkeys(suite.hosts, 0)
