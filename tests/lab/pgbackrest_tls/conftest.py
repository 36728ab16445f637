# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member, a repository's host and a drill host that reach each other over pgBackRest's own TLS server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.estate import ROOT, TOOLS, Estate, lab_hosts

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


class Ground:
    """The estate, and who issues its certificates."""

    def __init__(self, estate: Estate, home: Path) -> None:
        self.estate, self.home = estate, home
        self.authority = Authority(home)

    def play(self, playbook: str, *words: str) -> str:
        return self.estate.play(playbook, *words, cluster=CLUSTER)

    def refused(self, playbook: str, **given: Any) -> str:
        """Run a playbook that must fail; returns its output in one line."""
        done = self.estate.attempt(playbook, "-e", f"cluster={CLUSTER}", "-e", json.dumps(given))
        assert done.returncode != 0, done.stdout[-3000:]
        assert "PRIVATE KEY" not in done.stdout
        return " ".join(done.stdout.split())

    def module(self, host: str, name: str, failing: bool = False, **options: Any) -> dict[str, Any]:
        """Run one module as the database's account; returns what it answered."""
        argv = [str(TOOLS / "ansible"), "-i", str(self.estate.inventory), host, "-b", "--become-user", "postgres"]
        argv += ["-m", f"boringdb.ops.{name}", "-a", json.dumps(options), "-o"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode != 0) == failing, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{"):])
        return answer

    def pgbackrest(self, host: str, words: str, check: bool = True) -> str:
        return self.estate.on(host, f"su postgres -c 'pgbackrest --stanza={CLUSTER} {words}'", check=check)

    def served(self, host: str, port: int = 8432) -> str:
        """The fingerprint of what a new connection gets, asked by a program that is not ours."""
        done = subprocess.run(["openssl", "s_client", "-connect", f"{self.estate.addresses[host]}:{port}"], text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False)  # fmt: skip
        return Authority.fingerprint(done.stdout)

    def described(self) -> None:
        """Write the inventory. Addresses are what the hosts have; they are known to pgBackRest by name."""
        hosts = {
            name: {"ansible_host": self.estate.addresses[name], "db_address": self.estate.addresses[name]}
            for name in HOSTS
        }
        members = {
            "db_version": 15, "db_service": "postgresql@15-main", "db_data_dir": "/var/lib/postgresql/15/main",
            "db_config_dir": "/etc/postgresql/15/main", "db_backup_tool": "pgbackrest", "backup_transport": "tls",
        }  # fmt: skip
        self.estate.describe(
            {
                CLUSTER: {"hosts": {PRIMARY: hosts[PRIMARY]}, "vars": members},
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
