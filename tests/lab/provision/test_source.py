# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages from another source than the distribution, as PGDG is one: a small signed repository on the host itself.

It holds Debian's own server under a version of PGDG's making, so that what is installed tells where it came from.
PGDG's own server is not reached from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.estate import ROOT, Estate, changed, lab_hosts

HOST = "provsrc"
VERSION = "15.99-1.pgdg120+1"
KEY = "/etc/apt/keyrings/boringdb-pgdg.asc"
SOURCE = "/etc/apt/sources.list.d/boringdb-pgdg.sources"
PROGRAM = "/usr/lib/postgresql/15/bin/postgres"
#: Makes the repository, two keys (one signs it, one does not), and serves it.
MAKE = f"""
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qqy --no-install-recommends gnupg gpg-agent >/dev/null
mkdir -p /srv/apt/dists/bookworm-pgdg/main /srv/build && cd /srv/build
apt-get download -qq postgresql-15 2>/dev/null
dpkg-deb -R postgresql-15_*.deb tree
sed -i 's/^Version: .*/Version: {VERSION}/' tree/DEBIAN/control
dpkg-deb -Znone -b tree /srv/apt/postgresql-15.deb >/dev/null
for name in right wrong; do
  gpg --batch --quiet --passphrase '' --quick-generate-key $name@example.com ed25519 sign never
  gpg --armor --export $name@example.com > /srv/$name.asc
done
cd /srv/apt
arch=$(dpkg --print-architecture)
mkdir -p dists/bookworm-pgdg/main/binary-$arch
{{ cat /srv/build/tree/DEBIAN/control
  echo "Filename: postgresql-15.deb"
  echo "Size: $(stat -c %s postgresql-15.deb)"
  echo "SHA256: $(sha256sum < postgresql-15.deb | cut -d' ' -f1)"; }} > dists/bookworm-pgdg/main/binary-$arch/Packages
cd dists/bookworm-pgdg
packages=main/binary-$arch/Packages
{{ echo "Origin: test"; echo "Suite: bookworm-pgdg"; echo "Codename: bookworm-pgdg"; echo "Components: main"
  echo "Architectures: $arch"; echo "Date: $(date -Ru)"; echo "SHA256:"
  echo " $(sha256sum < $packages | cut -d' ' -f1) $(stat -c %s $packages) $packages"; }} > Release
gpg --batch --quiet --local-user right@example.com --clearsign --output InRelease Release
echo 'Acquire::http::Proxy::127.0.0.1 "DIRECT";' > /etc/apt/apt.conf.d/99own-source
systemd-run --quiet --unit=own-source python3 -m http.server 8000 --bind 127.0.0.1 --directory /srv/apt
"""

pytestmark = pytest.mark.lab


class Sourced(Estate):
    """One host with one server, whose packages come from where a test says."""

    def declare(self, **variables: Any) -> None:
        """Write the inventory."""
        member = {
            "ansible_host": self.addresses[HOST],
            "db_version": 15,
            "db_service": "postgresql@15-main",
            "db_data_dir": "/var/lib/postgresql/15/main",
            "db_config_dir": "/etc/postgresql/15/main",
            **variables,
        }
        self.describe({"shop": {"hosts": {HOST: member}}})

    def pgdg(self, key: str) -> None:
        """Take the packages from the test's own source, signed by this key."""
        self.declare(
            postgresql_package_source="pgdg",
            postgresql_package_url="http://127.0.0.1:8000",
            postgresql_package_key=str(self.key(key)),
        )

    def key(self, name: str) -> Path:
        return self.home / f"{name}.asc"


@pytest.fixture(scope="module")
def sourced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sourced]:
    """A new host that could reach the source, and the keys on the controller."""
    with lab_hosts(tmp_path_factory.mktemp("hosts"), HOST) as it:
        made = Sourced(tmp_path_factory.mktemp("source"))
        made.addresses, made.ssh_config = it.addresses, it.ssh_config
        made.on(HOST, MAKE)
        for name in ("right", "wrong"):
            made.key(name).write_text(made.on(HOST, f"cat /srv/{name}.asc"))
        yield made


def test_a_dry_run_says_what_it_can_and_changes_nothing(sourced: Sourced) -> None:
    sourced.pgdg("right")
    assert changed(sourced.play("provision", "--check", cluster="shop"))[HOST] > 0
    assert "No such file" in sourced.on(HOST, f"ls {SOURCE} {PROGRAM} {KEY}", check=False)


def test_a_source_that_another_key_signed_is_not_trusted(sourced: Sourced) -> None:
    sourced.pgdg("wrong")
    done = sourced.attempt("provision", "-e", "cluster=shop")
    assert done.returncode != 0
    assert "NO_PUBKEY" in done.stdout or "not signed" in done.stdout
    assert "No such file" in sourced.on(HOST, f"ls {PROGRAM}", check=False)


def test_the_server_comes_from_the_source_and_stays_converged(sourced: Sourced) -> None:
    sourced.pgdg("right")
    sourced.play("provision", cluster="shop")
    assert sourced.on(HOST, "dpkg-query -W -f '${Version}' postgresql-15") == VERSION
    assert sourced.sql(HOST, "SELECT 1") == "1"
    assert sourced.on(HOST, f"grep Signed-By {SOURCE}").split()[1] == KEY
    assert "right@example.com" not in sourced.on(HOST, "ls /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d", check=False)
    for words in ((), ("--check",)):
        assert changed(sourced.play("provision", *words, cluster="shop")) == {HOST: 0}


def test_without_it_the_source_goes_and_the_server_stays(sourced: Sourced) -> None:
    sourced.declare()
    assert changed(sourced.play("provision", cluster="shop")) == {HOST: 1}
    assert "No such file" in sourced.on(HOST, f"ls {SOURCE}", check=False)
    assert sourced.sql(HOST, "SELECT 1") == "1"


def test_the_key_of_pgdg_is_the_one_that_the_distribution_brings(sourced: Sourced) -> None:
    """Its server is not asked: in a dry run the source is not declared, so nothing is fetched from it."""
    sourced.declare(postgresql_package_source="pgdg")
    said = sourced.play("provision", "--check", "--diff", cluster="shop")
    for line in ("URIs: https://apt.postgresql.org/pub/repos/apt", "Suites: bookworm-pgdg", f"Signed-By: {KEY}"):
        assert f"+{line}" in said
    brought = sourced.on(HOST, "cat /usr/share/postgresql-common/pgdg/apt.postgresql.org.asc")
    assert brought == (ROOT / "roles/postgresql/files/pgdg.asc").read_text()
