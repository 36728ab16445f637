# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS between real hosts: certificates that are renewed under open connections, and wrong ones that are refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.lab.estate import ROOT, TOOLS, Estate, changed, lab_hosts

HOSTS = ("acc1", "acc2")
PASSWORD = "for the lab only: the shop's"
DATA, CONFIG = "/var/lib/postgresql/15/main", "/etc/postgresql/15/main"
FILE = f"{CONFIG}/tls/server.pem"
RECEIVER = "SELECT pid || ' ' || status FROM pg_stat_wal_receiver"
STARTED = "SELECT pg_postmaster_start_time()"

pytestmark = pytest.mark.lab


def openssl(*words: str) -> str:
    """Run openssl; returns what it printed."""
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    """A CA, and the certificates that it issues, as files of the controller."""

    def __init__(self, home: Path, name: str = "ca") -> None:
        self.home = home
        self.key, self.certificate = home / f"{name}.key", home / f"{name}.crt"
        self._new_key(self.key)
        openssl(
            "req", "-x509", "-key", str(self.key), "-subj", f"/CN={name}", "-days", "9", "-out", str(self.certificate)
        )

    def _new_key(self, path: Path) -> None:
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", str(path))

    def issue(self, name: str, address: str, *dates: str, file: str = "") -> str:
        """A new key and certificate of a host; returns the certificate's fingerprint."""
        key, certificate = (self.home / f"{file or name}.{end}" for end in ("key", "crt"))
        self._new_key(key)
        request, names = self.home / "request", self.home / "names"
        names.write_text(f"subjectAltName=IP:{address},DNS:{name}\nextendedKeyUsage=serverAuth\n")
        openssl("req", "-new", "-key", str(key), "-subj", f"/CN={name}", "-out", str(request))
        openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self.key),
            "-CAcreateserial", "-extfile", str(names), "-out", str(certificate), *(dates or ("-days", "5")),
        )  # fmt: skip
        return self.fingerprint(certificate.read_text())

    @staticmethod
    def fingerprint(certificate: str) -> str:
        """A certificate's name."""
        done = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256"], input=certificate,
                              capture_output=True, text=True, check=True)  # fmt: skip
        return done.stdout.partition("=")[2].strip().replace(":", "").lower()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of everybody here."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Estate]:
    """A primary and a replica that were provisioned with TLS and with accounts."""
    with lab_hosts(tmp_path_factory.mktemp("tls"), *HOSTS) as it:
        members = {
            "db_version": 15, "db_service": "postgresql@15-main", "db_data_dir": DATA, "db_config_dir": CONFIG,
            "db_address": "{{ ansible_host }}",
            "postgresql_replication_password": "for the lab only, 32 characters!",
            "postgresql_tls_certificate": f"{authority.home}/{{{{ inventory_hostname }}}}.crt",
            "postgresql_tls_key": f"{authority.home}/{{{{ inventory_hostname }}}}.key",
            "postgresql_tls_ca": str(authority.certificate),
            "access_accounts": [{"name": "monitor", "job": "monitoring"}, {"name": "saver", "job": "backup"}],
            "access_roles": [{"name": "shop", "login": True, "password": PASSWORD}],
            "access_databases": [{"name": "shop", "owner": "shop", "locale": "C.UTF-8", "encoding": "UTF8"}],
            "access_schemas": [{"name": "tools", "database": "shop"}],
            "access_extensions": [{"name": "pgcrypto", "database": "shop", "schema": "tools", "version": "1.3"}],
        }  # fmt: skip
        for name in HOSTS:
            authority.issue(name, it.addresses[name])
        hosts = {name: {"ansible_host": it.addresses[name]} for name in HOSTS}
        it.describe({"shop": {"hosts": hosts, "vars": members}})
        it.play("provision", cluster="shop")
        yield it


def connect(estate: Estate, authority: Authority, host: str = "acc1", **more: Any) -> psycopg.Connection[Any]:
    """A session of the application, which wants to know whom it talks to."""
    given = {"sslmode": "verify-full", "sslrootcert": str(authority.certificate), **more}
    return psycopg.connect(
        host=estate.addresses[host], user="shop", password=PASSWORD, dbname="shop", autocommit=True, **given
    )


def served(estate: Estate, host: str) -> str:
    """The fingerprint of what a new connection gets, asked by a program that is not ours."""
    where = f"{estate.addresses[host]}:5432"
    return Authority.fingerprint(openssl("s_client", "-starttls", "postgres", "-connect", where))


def tls(estate: Estate, host: str, fails: bool = False, **options: Any) -> dict[str, Any]:
    """The module alone, on a host, as the server's account."""
    given = json.dumps({"data_dir": DATA, "config_dir": CONFIG, "certificate_file": FILE, **options})
    words = ["-b", "--become-user", "postgres", "-m", "boringdb.ops.tls", "-a", given]
    done = subprocess.run(
        [str(TOOLS / "ansible"), host, "-i", str(estate.inventory), *words], cwd=ROOT, capture_output=True, text=True,
        env={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
             "HOME": str(estate.home), "PATH": f"{TOOLS}:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"},
        timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    text = done.stdout
    result: dict[str, Any] = json.loads(text[text.index("=> ") + 3 : text.rindex("}") + 1])
    assert "PRIVATE KEY" not in text
    return result


def brought(authority: Authority, certificate: str, key: str = "", ca: Path | None = None) -> dict[str, Any]:
    """Files of the controller as a module gets them."""
    return {
        "certificate": (authority.home / f"{certificate}.crt").read_text(),
        "key": (authority.home / f"{key or certificate}.key").read_text(),
        "ca": (ca or authority.certificate).read_text(),
        "ca_file": f"{CONFIG}/tls/ca.pem",
    }


def test_clients_come_in_with_tls_and_only_with_it(estate: Estate, authority: Authority) -> None:
    for host in HOSTS:
        with connect(estate, authority, host) as session:
            row = session.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
            assert row == (True, "TLSv1.3")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        connect(estate, authority, sslmode="disable")
    assert estate.sql("acc1", "SHOW ssl_min_protocol_version") == "TLSv1.2"
    with connect(estate, authority, ssl_max_protocol_version="TLSv1.2"):
        pass
    query = "SELECT s.state || ' ' || l.ssl FROM pg_stat_replication s JOIN pg_stat_ssl l USING (pid)"
    assert estate.sql("acc1", query) == "streaming true"


def test_the_key_is_its_owners_and_in_no_copy_of_the_data(estate: Estate) -> None:
    for host in HOSTS:
        assert estate.on(host, f"stat -c '%a %U' {CONFIG}/tls {FILE}").split() == ["700", "postgres", "600", "postgres"]
        assert estate.on(host, f"grep -rl 'PRIVATE KEY' {DATA} || true") == ""


def test_a_converged_cluster_is_left_alone(estate: Estate) -> None:
    """The accounts and the extension of PostgreSQL 15 included."""
    assert changed(estate.play("provision", "--check", cluster="shop")) == dict.fromkeys(HOSTS, 0)
    found = "SELECT extversion || ' ' || extnamespace::regnamespace FROM pg_extension WHERE extname = 'pgcrypto'"
    assert estate.on("acc1", f'su postgres -c "psql -XAtqc \\"{found}\\" shop"').strip() == "1.3 tools"


def test_a_renewed_certificate_is_served_and_nobody_is_cut_off(estate: Estate, authority: Authority) -> None:
    started = {host: estate.sql(host, STARTED) for host in HOSTS}
    receiver = estate.sql("acc2", RECEIVER)
    with connect(estate, authority) as session:
        pid = session.info.backend_pid
        new = {host: authority.issue(host, estate.addresses[host]) for host in HOSTS}
        assert new["acc1"] != served(estate, "acc1")
        counts = changed(estate.play("provision", cluster="shop"))
        assert counts == dict.fromkeys(HOSTS, 2)
        assert {host: served(estate, host) for host in HOSTS} == new
        with connect(estate, authority):
            pass
        assert session.execute("SELECT pg_backend_pid()").fetchone() == (pid,)
    assert {host: estate.sql(host, STARTED) for host in HOSTS} == started
    assert estate.sql("acc2", RECEIVER) == receiver


def test_what_a_killed_run_brought_is_served_after_the_next(estate: Estate, authority: Authority) -> None:
    old = served(estate, "acc2")
    new = authority.issue("acc2", estate.addresses["acc2"])
    assert tls(estate, "acc2", **brought(authority, "acc2"))["fingerprint"] == new
    assert served(estate, "acc2") == old
    # Not even a crash at this moment does harm: key and certificate are one file.
    assert estate.on("acc2", f"grep -c BEGIN {FILE}").strip() == "2"
    done = tls(estate, "acc2", state="served")
    assert (done["changed"], done["fingerprint"], done["tls_version"]) == (True, new, "TLSv1.3")
    assert tls(estate, "acc2", state="served")["changed"] is False
    assert served(estate, "acc2") == new


@pytest.fixture(scope="module")
def wrong(estate: Estate, authority: Authority) -> dict[str, dict[str, Any]]:
    """Certificates that no server should get."""
    address = estate.addresses["acc1"]
    authority.issue("acc1", address, "-days", "0", file="expired")
    authority.issue("acc1", address, file="other")
    locked = ["-aes128", "-passout", "pass:x", "-out", f"{authority.home}/locked.key"]
    openssl("ec", "-in", f"{authority.home}/other.key", *locked)
    (authority.home / "nothing.crt").write_text("Dear operator\n")
    (authority.home / "nothing.key").write_text("Dear operator\n")
    stranger = Authority(authority.home, "stranger")
    return {
        "expired": brought(authority, "expired"),
        "other's key": brought(authority, "acc1", "other"),
        "locked": brought(authority, "other", "locked"),
        "nothing": brought(authority, "nothing"),
        "no key": brought(authority, "other", "nothing"),
        "stranger's": brought(authority, "acc1", ca=stranger.certificate),
    }


REFUSALS = {
    "expired": "the certificate has expired (CN=acc1, valid until",
    "other's key": "the key is not that of the certificate (CN=acc1) (give the two that belong together)",
    "locked": "the key: it is encrypted, and the server can't ask for its passphrase",
    "nothing": "the certificate: it holds no certificate that openssl can read",
    "no key": "the key: 0 private keys are in it",
    "stranger's": "the CA does not stand for the certificate: ",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_wrong_one_is_refused_before_anything_is_touched(
    estate: Estate, wrong: dict[str, dict[str, Any]], name: str
) -> None:
    before = estate.on("acc1", f"sha256sum {CONFIG}/tls/*")
    refused = tls(estate, "acc1", fails=True, **wrong[name])
    assert refused["msg"].startswith("refused: ")
    assert REFUSALS[name] in refused["msg"]
    assert estate.on("acc1", f"sha256sum {CONFIG}/tls/*") == before


def test_files_that_are_on_the_host_are_judged_by_owner_and_mode(estate: Estate) -> None:
    place = "/var/lib/postgresql/own"
    estate.on("acc1", f"install -d -o postgres {place}; install -o nobody -m 0644 {FILE} {place}/server.pem")
    files: dict[str, Any] = {"certificate_file": f"{place}/server.pem", "key_file": f"{place}/server.pem"}
    refused = tls(estate, "acc1", fails=True, **files)["msg"]
    assert "belongs to uid 65534, not to the server's account" in refused
    assert "has mode 0644, open to others" in refused
    for owner, mode in (("postgres", "0600"), ("root:postgres", "0640")):
        estate.on("acc1", f"chown {owner} {place}/server.pem; chmod {mode} {place}/server.pem")
        assert tls(estate, "acc1", **files)["changed"] is False


def test_a_playbook_with_a_wrong_key_changes_nothing(estate: Estate, authority: Authority) -> None:
    before = estate.on("acc1", f"sha256sum {CONFIG}/tls/* {CONFIG}/conf.d/* {CONFIG}/pg_hba.conf")
    wrong = {"postgresql_tls_key": str(authority.key), "postgresql_settings": {"work_mem": "9MB"}}
    done = estate.attempt("provision", "-e", "cluster=shop", "-e", json.dumps(wrong))
    assert done.returncode != 0
    assert "refused: the key is not that of the certificate (CN=acc1)" in " ".join(done.stdout.split())
    assert estate.on("acc1", f"sha256sum {CONFIG}/tls/* {CONFIG}/conf.d/* {CONFIG}/pg_hba.conf") == before
