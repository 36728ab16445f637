# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role backup with pgBackRest on real hosts of sid: two members, an encrypted repository, and a drill host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.cluster import SID
from tests.lab.estate import Estate, changed, lab_hosts

HOSTS = ("shop1", "shop2", "shoprepo", "shopdrill")
KEY = "a key that only the repository's host knows"

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A provisioned cluster with its repository."""
    with lab_hosts(tmp_path_factory.mktemp("pgbackrest"), *SID.hosts(*HOSTS)) as it:
        at = {name: {"ansible_host": it.addresses[name]} for name in HOSTS}
        groups: dict[str, Any] = {
            "shop": {"hosts": {name: at[name] for name in HOSTS[:2]}, "vars": SID.members},
            "repository_hosts": {"hosts": {"shoprepo": {**at["shoprepo"], "backup_cipher_pass": KEY}}},
            "drill_hosts": {"hosts": {"shopdrill": at["shopdrill"]}},
        }
        it.describe(groups, backup_repository_host="shoprepo")
        for host in HOSTS:
            # As power cuts leave it: a note of dpkg's for which apt refuses everything, and half of the package lists,
            # which look fresh.
            it.on(host, ": > /var/lib/dpkg/updates/0001; ! apt-get install -qq --dry-run nothing-at-all 2>/dev/null")
            it.on(host, "mkdir -p /var/lib/apt/lists/partial; : > /var/lib/apt/lists/partial/half_InRelease")
            it.on(host, "touch /var/lib/apt/lists; ! apt-cache show pgbackrest 2>/dev/null")
        it.play("provision", cluster="shop")
        it.play("evidence_key", cluster="shop")
        yield it


def test_the_packages_are_those_that_the_support_matrix_names(estate: Estate) -> None:
    SID.is_on(estate, "shop1", "shoprepo")


@pytest.mark.parametrize("words", [(), ("--check",)], ids=["again", "check"])
def test_a_converged_estate_is_left_alone(estate: Estate, words: tuple[str, ...]) -> None:
    assert changed(estate.play("provision", *words, cluster="shop")) == dict.fromkeys(HOSTS, 0)


def test_the_key_of_the_repository_is_on_its_host_alone(estate: Estate) -> None:
    for host in HOSTS:
        found = estate.on(host, f'grep -rlF "{KEY}" /etc /var/lib/postgresql || true').split()
        assert found == (["/etc/pgbackrest/conf.d/shop.conf"] if host == "shoprepo" else [])
    assert estate.on("shoprepo", "stat -c '%a %U %G' /etc/pgbackrest/conf.d/shop.conf").strip() == "640 root postgres"


def test_a_drill_host_reads_the_repository_and_can_not_write_it(estate: Estate) -> None:
    assert "archive.info" in estate.on("shopdrill", "su postgres -c 'pgbackrest --stanza=shop repo-ls archive/shop'")
    # Newer ones have no command that writes from afar: it is the account's own hand that must not.
    as_reader = "su -s /bin/sh pgbackrest_reader -c '{}'"
    for wish in ("touch {}/x", "rm -f {}/archive.info"):
        said = estate.on("shoprepo", as_reader.format(wish.format("/var/lib/pgbackrest/archive/shop")), check=False)
        assert "Permission denied" in said, said


@pytest.mark.parametrize(("guest", "account"), [("shopdrill", "pgbackrest_reader"), ("shop1", "postgres")])
def test_a_key_opens_pgbackrest_and_no_shell(estate: Estate, guest: str, account: str) -> None:
    address = estate.addresses["shoprepo"]
    for wish in ("id", "pgbackrest version; id #:remote", "pgbackrest-evil x:remote"):
        connect = f'ssh -F /etc/pgbackrest/ssh/config {account}@{address} \\"{wish}\\"'
        said = estate.on(guest, f'su postgres -c "{connect}"', check=False)
        assert "uid=" not in said, said


def test_a_drill_is_verified_with_every_member_switched_off(estate: Estate) -> None:
    estate.on("shop1", "su postgres -c \"psql -qc 'CREATE TABLE goods AS SELECT generate_series(1, 5000) AS id'\"")
    estate.play("backup", cluster="shop")
    estate.on("shop1", "su postgres -c \"psql -qc 'INSERT INTO goods SELECT generate_series(5001, 6000)'\"")
    estate.on("shoprepo", "su postgres -c 'pgbackrest --stanza=shop check'")
    estate.play("backup", "-e", "backup_type=incr", cluster="shop")
    estate.lab("kill", "shop1", "shop2")
    try:
        said = estate.play("restore_drill", cluster="shop")
    finally:
        estate.lab("start", "shop1", "shop2")
    assert re.search(r"shop verified .*rows=6000", said), said[-2000:]


def test_a_failover_is_drilled_on_a_copy(estate: Estate) -> None:
    """On the drill host, out of the encrypted repository; the members are not touched, and nothing is left of it."""
    estate.play("backup", "-e", "backup_type=incr", cluster="shop")
    started = [estate.sql(host, "SELECT pg_postmaster_start_time()") for host in HOSTS[:2]]
    # What only the killed primary had may be lost: the replica of a copy is asynchronous.
    said = estate.play(
        "failover_drill", "-e", "failover_drill_mode=copy", "-e", "failover_drill_lost_rows=100", cluster="shop"
    )
    assert "failover_drill: shop verified mode=copy" in " ".join(said.split()), said[-2000:]
    assert [estate.sql(host, "SELECT pg_postmaster_start_time()") for host in HOSTS[:2]] == started
    found = estate.record("shop")
    assert found["operation"] == "failover_drill" and found["measurements"]["rows_acknowledged"] > 0
    left = estate.on("shopdrill", "find /var/lib/boringdb/failover_drill -type f; pgrep -a postgres || true")
    assert left.strip() == ""


def test_a_run_without_the_repository_s_host_is_refused(estate: Estate) -> None:
    with pytest.raises(AssertionError, match="shoprepo holds the repository of shop and is not part of this run"):
        estate.play("provision", "--limit", "shop,shopdrill", cluster="shop")
