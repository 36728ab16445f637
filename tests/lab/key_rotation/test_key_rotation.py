# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's rotation of a repository's key, as it stands there: its commands, in their order, to the old one's end."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.estate import ROOT, Estate, changed, lab_hosts

MEMBER, VAULT = HOSTS = ("rot1", "rotvault")
CLUSTER = "rot"
OLD = {"type": "host"}
NEW = {"type": "host", "path": "/var/lib/pgbackrest-2027", "cipher_pass": "the new key of the repository"}
OLD_KEY = "the old key of the repository"

pytestmark = pytest.mark.lab


def commands() -> list[tuple[str, list[str]]]:
    """The section's playbooks with their further words, in their order."""
    page = (ROOT / "docs/pgbackrest.md").read_text()
    section = page[page.index("## Rotating a repository's key"):].split("\n## ")[0]
    found = re.findall(r"`ansible-playbook boringdb\.ops\.(\w+) -e cluster=orders([^`]*)`", section)
    return [(name, shlex.split(words)) for name, words in found]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A cluster with an encrypted repository, a backup in it, and a drill host that is the repository's own."""
    with lab_hosts(tmp_path_factory.mktemp("rotation"), *HOSTS) as it:
        describe(it)
        it.play("provision", cluster=CLUSTER)
        it.play("evidence_key", cluster=CLUSTER)
        it.sql(MEMBER, "CREATE TABLE goods AS SELECT generate_series(1, 3000) AS id")
        it.play("backup", cluster=CLUSTER)
        yield it


def describe(it: Estate, *repositories: dict[str, Any]) -> None:
    """The inventory, with this list."""
    at = {name: {"ansible_host": it.addresses[name], "db_address": it.addresses[name]} for name in HOSTS}
    members = {
        "db_version": 15, "db_service": "postgresql@15-main", "db_data_dir": "/var/lib/postgresql/15/main",
        "db_config_dir": "/etc/postgresql/15/main", "db_backup_tool": "pgbackrest",
    }  # fmt: skip
    groups = {
        CLUSTER: {"hosts": {MEMBER: at[MEMBER]}, "vars": members},
        "repository_hosts": {"hosts": {VAULT: {**at[VAULT], "backup_cipher_pass": OLD_KEY}}},
        "drill_hosts": {"hosts": {VAULT: {}}},
    }
    it.describe(groups, backup_repository_host=VAULT, backup_repositories=list(repositories))


def _files(it: Estate, path: str) -> int:
    return int(it.on(VAULT, f"find {path} -type f | wc -l"))


def test_the_page_s_rotation_ends_with_one_repository_under_the_new_key(estate: Estate) -> None:
    add, back_up, prove, retire, prove_again = commands()
    assert [add[0], back_up[0], prove[0], retire[0], prove_again[0]] == [
        "provision", "backup", "restore_drill", "provision", "restore_drill"
    ]  # fmt: skip

    describe(estate, OLD, NEW)
    estate.play(add[0], *add[1], cluster=CLUSTER)
    assert changed(estate.play(add[0], *add[1], cluster=CLUSTER)) == dict.fromkeys(HOSTS, 0)
    old_backups = _files(estate, "/var/lib/pgbackrest/backup")
    said = " ".join(estate.play(back_up[0], *back_up[1], cluster=CLUSTER).split())
    taken = re.findall(rf"backup: (\S+) full of {CLUSTER} in repository 2", said)
    assert len(taken) == 1, said[-2000:]
    assert _files(estate, "/var/lib/pgbackrest/backup") == old_backups
    estate.sql(MEMBER, "INSERT INTO goods SELECT generate_series(3001, 4000)")
    estate.on(VAULT, f"su postgres -c 'pgbackrest --stanza={CLUSTER} check'")
    said = " ".join(estate.play(prove[0], *prove[1], cluster=CLUSTER).split())
    assert re.search(rf"{CLUSTER} verified .*rows=4000", said), said[-2000:]
    assert estate.record(CLUSTER)["measurements"]["backup_repository"] == 2

    describe(estate, NEW)
    estate.play(retire[0], *retire[1], cluster=CLUSTER)
    assert changed(estate.play(retire[0], *retire[1], cluster=CLUSTER)) == dict.fromkeys(HOSTS, 0)
    estate.on(VAULT, "rm -r /var/lib/pgbackrest")
    estate.sql(MEMBER, "INSERT INTO goods SELECT generate_series(4001, 5000)")
    estate.on(VAULT, f"su postgres -c 'pgbackrest --stanza={CLUSTER} check'")
    said = " ".join(estate.play(prove_again[0], *prove_again[1], cluster=CLUSTER).split())
    assert re.search(rf"{CLUSTER} verified .*rows=5000", said), said[-2000:]
    for host in HOSTS:
        assert OLD_KEY not in estate.on(host, f"cat /etc/pgbackrest/conf.d/{CLUSTER}.conf")


def test_archiving_and_backups_go_on_in_it_alone(estate: Estate) -> None:
    said = estate.sql(MEMBER, "SELECT pg_create_restore_point('x'); SELECT pg_walfile_name(pg_switch_wal())")
    name = said.split()[-1]
    deadline = time.monotonic() + 60
    while not estate.on(VAULT, f"find {NEW['path']}/archive -name '{name}*'").strip():
        assert time.monotonic() < deadline, f"{name} was not archived"
        time.sleep(0.2)
    said = " ".join(estate.play("backup", cluster=CLUSTER).split())
    assert "backup: " in said and "removed nothing" in said, said[-2000:]


def test_two_repositories_in_one_place_are_refused(estate: Estate) -> None:
    describe(estate, OLD, {**NEW, "path": "/var/lib/pgbackrest"})
    done = estate.attempt("../tests/lab/s3/configure", "-e", f"cluster={CLUSTER}")
    assert done.returncode != 0
    assert "more than one repository of type host or path at /var/lib/pgbackrest" in " ".join(done.stdout.split())
