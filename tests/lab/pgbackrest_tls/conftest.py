# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member, a repository's host and a drill host that reach each other over pgBackRest's own TLS server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cluster import MEMBERS, ClusterGround
from tests.lab.estate import Estate, lab_hosts

PRIMARY, REPOSITORY, DRILL = HOSTS = ("tl1", "tlrepo", "tldrill")
CLUSTER = "tl"
#: Of the repository: only its host has it, also when the server answers for it.
KEY = "the key of the repository"
CONFIGURE = "../tests/lab/s3/configure"


class Authority:
    """A CA, and the certificates that it issues, as files of the controller."""

    def __init__(self, home: Path, name: str = "ca") -> None:
        self.home, self.name = home, name
        self._run(*self._new_key(name), "-x509", "-days", "9", "-subj", f"/CN={name}", "-out", f"{name}.crt")

    def _run(self, *words: str) -> str:
        argv = ["openssl", *words]
        done = subprocess.run(argv, cwd=self.home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @staticmethod
    def _new_key(name: str) -> list[str]:
        return ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]

    def issue(self, name: str, *, file: str = "", days: str = "40", use: str = "serverAuth,clientAuth") -> str:
        """A new key and certificate; returns the certificate's fingerprint."""
        file = file or name
        self._run(*self._new_key(file), "-subj", f"/O=lab/CN={name}", "-out", "request")
        (self.home / "names").write_text(f"subjectAltName=DNS:{name}\nextendedKeyUsage={use}\n")
        self._run("x509", "-req", "-in", "request", "-CA", f"{self.name}.crt", "-CAkey", f"{self.name}.key",
                  "-CAcreateserial", "-days", days, "-extfile", "names", "-out", f"{file}.crt")  # fmt: skip
        return self.fingerprint((self.home / f"{file}.crt").read_text())

    @staticmethod
    def fingerprint(text: str) -> str:
        """The SHA-256 of the first certificate in a text."""
        done = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256"], input=text,
                              capture_output=True, text=True, check=True)  # fmt: skip
        return done.stdout.partition("=")[2].strip()


class Ground(ClusterGround):
    """The cluster, and who issues its hosts' certificates."""

    def __init__(self, estate: Estate, home: Path) -> None:
        super().__init__(estate, home, CLUSTER)
        self.authority = Authority(home)

    def served(self, host: str, port: int = 8432) -> str:
        """The fingerprint of what a new connection gets, asked by a program that is not ours."""
        # It prints the session's bytes, too, which are no text.
        argv = ["openssl", "s_client", "-connect", f"{self.estate.addresses[host]}:{port}"]
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False)
        return Authority.fingerprint(done.stdout.decode(errors="replace"))

    def described(self) -> None:
        """Write the inventory. Addresses are what the hosts have; they are known to pgBackRest by name."""
        hosts = {
            name: {"ansible_host": self.estate.addresses[name], "db_address": self.estate.addresses[name]}
            for name in HOSTS
        }
        self.estate.describe(
            {
                CLUSTER: {"hosts": {PRIMARY: hosts[PRIMARY]}, "vars": {**MEMBERS, "backup_transport": "tls"}},
                "repository_hosts": {"hosts": {REPOSITORY: {**hosts[REPOSITORY], "backup_cipher_pass": KEY}}},
                "drill_hosts": {"hosts": {DRILL: hosts[DRILL]}},
            },
            backup_repository_host=REPOSITORY,
            backup_tls_certificate=f"{self.home}/{{{{ inventory_hostname }}}}.crt",
            backup_tls_key=f"{self.home}/{{{{ inventory_hostname }}}}.key",
            backup_tls_ca=f"{self.home}/ca.crt",
        )


@pytest.fixture(scope="package")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A provisioned cluster that archives over TLS."""
    home = tmp_path_factory.mktemp("pgbackrest-tls")
    with lab_hosts(home, *HOSTS) as estate:
        it = Ground(estate, home)
        for name in HOSTS:
            it.authority.issue(name)
        it.described()
        it.play("provision")
        it.play("evidence_key")
        yield it
