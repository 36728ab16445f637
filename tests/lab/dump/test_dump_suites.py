# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dump on each newer Debian suite with that version's own programs and compressions, proven on the same host."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from tests.lab.estate import Estate, changed, lab_hosts

DUMPS = "/srv/dumps"
#: The locale provider that 17 brought, beside ICU; a table that compresses, and one that does not.
FILL = """
CREATE ROLE clerk;
CREATE DATABASE shop TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' OWNER clerk;
CREATE DATABASE cellar TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' ICU_RULES '&a < ä';
\\connect cellar
CREATE TABLE wine AS SELECT n AS id, 'Wein ' || n AS name FROM generate_series(1, 500) n;
\\connect shop
CREATE TABLE goods (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, noise text) ;
INSERT INTO goods (name, noise) SELECT repeat('ware ', 20), md5(n::text) FROM generate_series(1, 20000) n;
ALTER TABLE goods OWNER TO clerk;
GRANT MAINTAIN ON goods TO pg_read_all_stats;
"""

pytestmark = pytest.mark.lab


@dataclass
class Suite:
    """A suite, its version, and what was told there."""

    name: str
    postgresql: int
    said: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, object]] = field(default_factory=dict)
    estate: Estate = field(init=False)

    @property
    def host(self) -> str:
        return f"dump{self.name[0]}"

    @property
    def cluster(self) -> str:
        return f"dump_{self.name}"

    def describe(self) -> None:
        """Write the inventory: one host, which is its own drill host."""
        place = f"{self.postgresql}/main"
        member = {
            "ansible_host": self.estate.addresses[self.host], "db_version": self.postgresql,
            "db_service": f"postgresql@{self.postgresql}-main", "db_data_dir": f"/var/lib/postgresql/{place}",
            "db_config_dir": f"/etc/postgresql/{place}", "dump_path": DUMPS,
        }  # fmt: skip
        groups = {self.cluster: {"hosts": {self.host: member}}, "drill_hosts": {"hosts": {self.host: {}}}}
        self.estate.describe(groups)

    def live(self) -> None:
        """Dumps with each compression that there is, and a way back."""
        self.estate.play("provision", cluster=self.cluster)
        self.estate.play("evidence_key", cluster=self.cluster)
        self.estate.on(self.host, f"install -d -o postgres -m 700 {DUMPS}")
        self.estate.sql(self.host, FILL)
        for method in ("auto", "lz4", "gzip", "none"):
            self.said[method] = self.estate.play("dump", "-e", f"dump_compress={method}", cluster=self.cluster)
            self.records[method] = self.estate.record(self.cluster)
        given = {"extract_from_dump": "latest", "extract_privileges": True}
        for name in ("shop", "cellar"):
            own = json.dumps({**given, "extract_database": name, "extract_as_database": f"{name}_back"})
            self.said[name] = self.estate.play("extract", "-e", own, cluster=self.cluster)
        self.said["check"] = self.estate.play("dump", "--check", cluster=self.cluster)


SUITES = {one.name: one for one in (Suite("trixie", 17), Suite("sid", 18))}


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Suite]]:
    """Every suite's cluster at the end of its life, both at once."""
    hosts = [f"{suite.host}@{suite.name}" for suite in SUITES.values()]
    with lab_hosts(tmp_path_factory.mktemp("suites"), *hosts) as it:
        for suite in SUITES.values():
            suite.estate = Estate(tmp_path_factory.mktemp(suite.name))
            suite.estate.addresses, suite.estate.ssh_config = it.addresses, it.ssh_config
            suite.describe()
        with ThreadPoolExecutor() as pool:
            list(pool.map(Suite.live, SUITES.values()))
        yield SUITES


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest, suites: dict[str, Suite]) -> Suite:
    found: Suite = suites[request.param]
    return found


@pytest.mark.parametrize(("asked", "used"), [("auto", "zstd"), ("lz4", "lz4"), ("gzip", "gzip"), ("none", "none")])
def test_a_dump_of_each_compression_is_verified(suite: Suite, asked: str, used: str) -> None:
    record = suite.records[asked]
    assert record["verdict"] == "verified"
    assert {check["status"] for check in record["checks"]} == {"passed"}  # type: ignore[attr-defined]
    measured = record["measurements"]
    assert (measured["compression"], measured["taken_on"]) == (used, "primary")  # type: ignore[index]
    assert str(record["versions"]["engine"]).startswith(f"{suite.postgresql}.")  # type: ignore[index]
    label = measured["dump_label"]  # type: ignore[index]
    endings = {"zstd": "zst", "lz4": "lz4", "gzip": "gz", "none": "dat"}
    names = suite.estate.on(suite.host, f"find {DUMPS}/{label}/databases -name '[0-9]*.*'").split()
    assert {name.rpartition(".")[2] for name in names if "blob" not in name} == {endings[used]}


def test_a_compression_makes_it_smaller(suite: Suite) -> None:
    sizes = {name: record["measurements"]["dump_bytes"] for name, record in suite.records.items()}  # type: ignore[index]
    assert max(sizes["auto"], sizes["lz4"], sizes["gzip"]) < sizes["none"] / 1.5


def test_databases_come_back_with_their_locales(suite: Suite) -> None:
    assert re.search(r"extract: 20000 rows of dump", " ".join(suite.said["shop"].split()))
    query = "SELECT datlocprovider, datlocale, daticurules FROM pg_database WHERE datname = '{}'"
    for name, wanted in (("shop", "b|C.UTF-8|"), ("cellar", "i|de-DE|&a < ä")):
        assert suite.estate.sql(suite.host, query.format(name)) == wanted
        assert suite.estate.sql(suite.host, query.format(f"{name}_back")) == wanted
    acl = "\\connect {}\nSELECT relacl FROM pg_class WHERE relname = 'goods'"
    was, now = (suite.estate.sql(suite.host, acl.format(name)) for name in ("shop", "shop_back"))
    assert now == was != ""


def test_a_dry_run_changes_nothing_and_nothing_is_left(suite: Suite) -> None:
    assert changed(suite.said["check"])[suite.host] == 1
    assert suite.estate.on(suite.host, f"ls -A /var/lib/boringdb/dump/{suite.cluster}").split() == ["run"]
    assert suite.estate.on(suite.host, f"ls {DUMPS} | wc -l").strip() == "4"
