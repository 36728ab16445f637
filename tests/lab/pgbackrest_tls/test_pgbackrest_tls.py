# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pgBackRest over its own TLS server: a backup and its drill; renewal while it works; what is refused."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.lab.estate import changed
from tests.lab.pgbackrest_tls.conftest import CLUSTER, CONFIGURE, DRILL, HOSTS, PRIMARY, REPOSITORY, Authority, Ground

UNITS = {PRIMARY: ["pgbackrest-server"], REPOSITORY: ["pgbackrest-server", "pgbackrest-reader"]}
PAIR = "/etc/pgbackrest/tls/host.pem"

pytestmark = pytest.mark.lab


def _started(ground: Ground) -> dict[str, str]:
    """The first process of each server; another one means that it was restarted."""
    return {
        f"{host} {unit}": ground.estate.on(host, f"systemctl show -P MainPID {unit}").strip()
        for host, units in UNITS.items() for unit in units
    }  # fmt: skip


def _archived(ground: Ground) -> None:
    """One more WAL segment is in the archive."""
    said = ground.estate.sql(PRIMARY, "SELECT pg_create_restore_point('x'); SELECT pg_walfile_name(pg_switch_wal())")
    name = said.split()[-1]
    deadline = time.monotonic() + 60
    while not ground.estate.on(REPOSITORY, f"find /var/lib/pgbackrest/archive -name '{name}*'").strip():
        assert time.monotonic() < deadline, f"{name} was not archived"
        time.sleep(0.2)


def test_a_converged_estate_is_left_alone_and_shows_no_key(ground: Ground) -> None:
    output = ground.play("provision", "-vvv", "--diff")
    assert changed(output) == dict.fromkeys(HOSTS, 0)
    assert "PRIVATE KEY" not in output
    assert changed(ground.play(CONFIGURE, "--check")) == dict.fromkeys(HOSTS, 0)


def test_there_is_no_ssh_and_the_key_is_closed(ground: Ground) -> None:
    for host in HOSTS:
        assert ground.estate.on(host, f"stat -c '%a %U %G' {PAIR}").strip() == "640 root postgres"
        assert "cmd-ssh" not in ground.estate.on(host, f"cat /etc/pgbackrest/conf.d/{CLUSTER}.conf")
        assert not ground.estate.on(host, "find /etc/pgbackrest/ssh ~postgres/.ssh 2>/dev/null || true")


def test_a_backup_is_taken_and_a_drill_verifies_it(ground: Ground) -> None:
    ground.estate.sql(PRIMARY, "CREATE TABLE goods AS SELECT generate_series(1, 5000) AS id")
    ground.play("backup")
    _archived(ground)
    said = ground.play("restore_drill")
    assert re.search(rf"{CLUSTER} verified .*rows=5000", " ".join(said.split())), said[-2000:]


def test_a_drill_host_reads_and_writes_nothing(ground: Ground) -> None:
    assert "backup" in ground.pgbackrest(DRILL, "repo-ls")
    said = ground.pgbackrest(DRILL, "repo-put archive/tl/x </etc/hostname", check=False)
    assert "Permission denied" in said, said
    said = ground.pgbackrest(DRILL, "--repo1-host-port=8432 repo-ls", check=False)
    assert "access denied" in said, said
    assert "access denied" in ground.pgbackrest(PRIMARY, "--repo1-host-port=8433 repo-ls", check=False)


def test_a_backup_goes_on_while_the_servers_are_reloaded(ground: Ground) -> None:
    ground.estate.sql(PRIMARY, "CREATE TABLE ballast AS SELECT md5(i::text) FROM generate_series(1, 2000000) i")
    before = _started(ground)
    backup = f"pgbackrest --stanza={CLUSTER} backup --type=full --compress-type=gz --compress-level=9 --process-max=1"
    ground.estate.on(REPOSITORY, f"su postgres -c '{backup}; echo $? >/tmp/backup.rc' >/tmp/backup.log 2>&1 &")
    log = f"/var/log/pgbackrest/{CLUSTER}-backup.log"
    deadline = time.monotonic() + 60
    while "check archive for prior segment" not in ground.estate.on(REPOSITORY, f"tail -n 4 {log}"):
        assert time.monotonic() < deadline, ground.estate.on(REPOSITORY, f"tail {log}; cat /tmp/backup.log")
        time.sleep(0.2)
    for host, units in UNITS.items():
        ground.estate.on(host, f"systemctl reload {' '.join(units)}")
    assert not ground.estate.on(REPOSITORY, "ls /tmp/backup.rc 2>/dev/null || true").strip(), "it was over too soon"
    deadline = time.monotonic() + 200
    while not ground.estate.on(REPOSITORY, "cat /tmp/backup.rc 2>/dev/null || true").strip():
        assert time.monotonic() < deadline
        time.sleep(1)
    said = ground.estate.on(REPOSITORY, "cat /tmp/backup.rc /tmp/backup.log; rm /tmp/backup.rc /tmp/backup.log")
    assert said.split()[0] == "0", said
    assert _started(ground) == before
    ground.estate.sql(PRIMARY, "DROP TABLE ballast")


def test_renewed_certificates_are_served_without_a_restart_and_archiving_goes_on(ground: Ground) -> None:
    before = _started(ground)
    new = {host: ground.authority.issue(host) for host in HOSTS}
    assert ground.served(REPOSITORY) != new[REPOSITORY]
    assert changed(ground.play("provision")) == {PRIMARY: 2, REPOSITORY: 3, DRILL: 1}
    assert (ground.served(PRIMARY), ground.served(REPOSITORY)) == (new[PRIMARY], new[REPOSITORY])
    assert ground.served(REPOSITORY, 8433) == new[REPOSITORY]
    assert _started(ground) == before
    _archived(ground)
    assert ground.module(DRILL, "backup_info", tool="pgbackrest", stanza=CLUSTER)["repositories"][0]["reachable"]


def test_what_a_killed_run_brought_is_served_after_the_next(ground: Ground) -> None:
    new = ground.authority.issue(PRIMARY)
    pair = "".join((ground.home / f"{PRIMARY}.{end}").read_text() for end in ("key", "crt"))
    ground.estate.on(PRIMARY, f"cat >{PAIR} <<'END'\n{pair}END")
    assert ground.served(PRIMARY) != new
    assert changed(ground.play(CONFIGURE)) == {PRIMARY: 1, REPOSITORY: 0, DRILL: 0}
    assert ground.served(PRIMARY) == new


@pytest.fixture(scope="module")
def wrong(ground: Ground) -> dict[str, Any]:
    """Certificates that are no good for the primary, as variables."""
    stranger = Authority(ground.home, "stranger")
    stranger.issue(PRIMARY, file="strange")
    ground.authority.issue(PRIMARY, file="old", days="0")
    ground.authority.issue("somebody", file="foreign")
    ground.authority.issue(PRIMARY, file="server", use="serverAuth")
    pairs = {name: name for name in ("strange", "old", "foreign", "server")}
    found: dict[str, Any] = {
        name: {"backup_tls_certificate": _of_primary(ground, f"{pairs[name]}.crt", "crt"),
               "backup_tls_key": _of_primary(ground, f"{pairs[name]}.key", "key")}
        for name in pairs
    }  # fmt: skip
    found["key"] = {"backup_tls_key": _of_primary(ground, "old.key", "key")}
    found["missing"] = {"backup_tls_ca": f"{ground.home}/nowhere.crt", "backup_tls_key": ""}
    found["address"] = {"backup_tls_name": "{{ db_address }}"}
    found["nothing to reach"] = {"backup_repository_host": ""}
    return found


def _of_primary(ground: Ground, file: str, end: str) -> str:
    """The value that names this file on the primary, and leaves the others theirs."""
    return (
        f"{ground.home}/{{{{ '{file}' if inventory_hostname == '{PRIMARY}' else inventory_hostname ~ '.{end}' }}}}"
    )


@pytest.mark.parametrize(("name", "pieces"), [
    ("strange", ["the CA does not stand for the certificate: "]),
    ("old", [f"the certificate has expired (CN={PRIMARY},O=lab, valid until", "(renew it)"]),
    ("foreign", [f"the certificate is of CN somebody, not of {PRIMARY} (have it issued with the CN {PRIMARY})",
                 f"the certificate is for somebody, not for {PRIMARY}"]),
    ("server", ["the CA does not stand for the certificate: ", "purpose"]),
    ("key", ["the key is not that of the certificate"]),
    ("missing", ["backup_tls_key is not set", "nowhere.crt on the controller, or it is empty"]),
    ("address", ["pgBackRest finds no address in a certificate (set backup_tls_name", "is of CN tl1, not"]),
    ("nothing to reach", ["backup_transport is tls, and no repository is on a host"]),
])  # fmt: skip
def test_a_wrong_one_is_refused_before_anything_is_touched(
    ground: Ground, wrong: dict[str, Any], name: str, pieces: list[str]
) -> None:
    look = "find /etc/pgbackrest /etc/systemd/system -type f | sort | xargs sha256sum"
    before = [ground.estate.on(host, look) for host in HOSTS]
    output = ground.refused(CONFIGURE, **wrong[name])
    for piece in ["refused: ", *pieces]:
        assert piece in output, output[-3000:]
    assert [ground.estate.on(host, look) for host in HOSTS] == before


def test_what_the_other_side_presents_is_judged_in_one_line(ground: Ground) -> None:
    def asked(**more: str) -> str:
        config = ground.estate.on(DRILL, f"cat /etc/pgbackrest/conf.d/{CLUSTER}.conf")
        for option, value in more.items():
            config = re.sub(rf"(?m)^repo1-host-{option}=.*", f"repo1-host-{option}={value}", config)
        config = re.sub(r"(?m)^io-timeout=.*", "io-timeout=2", config)
        ground.estate.on(DRILL, f"cat >/run/other.conf <<'END'\n{config}END\nchown postgres /run/other.conf")
        answer = ground.module(DRILL, "backup_info", failing=True, tool="pgbackrest", stanza=CLUSTER,
                               pgbackrest_config="/run/other.conf")  # fmt: skip
        assert "\n" not in answer["msg"]
        return str(answer["msg"])

    assert re.search(f"can't be reached: unable to connect to '{REPOSITORY}:8499': .*Connection refused",
                     asked(port="8499"))  # fmt: skip
    assert f"{REPOSITORY} does not let this host at stanza {CLUSTER}" in asked(port="8432")
    assert "the certificate of " in asked(**{"ca-file": "/etc/ssl/certs/ca-certificates.crt"})


def test_a_port_that_is_closed_is_told_by_name_before_anything_goes_by_it(ground: Ground) -> None:
    before = ground.estate.on(PRIMARY, f"sha256sum /etc/pgbackrest/conf.d/{CLUSTER}.conf")
    output = ground.refused(CONFIGURE, backup_tls_address="127.0.0.1")
    assert re.search(f"refused: {REPOSITORY}:8432: it can't be reached: Connection refused .see that the port", output)
    assert ground.estate.on(PRIMARY, f"sha256sum /etc/pgbackrest/conf.d/{CLUSTER}.conf") == before
    ground.play(CONFIGURE)
    _archived(ground)
