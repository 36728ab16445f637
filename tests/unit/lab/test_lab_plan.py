# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, names, suites and paths of the lab."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
import yaml

from tests.lab import plan
from tests.lab.run import LabError

ROOT = Path(__file__).resolve().parents[3]


def test_planned_addresses_are_distinct_and_inside_the_subnet() -> None:
    subnet = ipaddress.ip_network(f"{plan.PREFIX}0/{plan.NETMASK}")
    addresses = [plan.address(name, []) for name in plan.FIXED]
    assert len(set(addresses)) == len(addresses)
    assert plan.CONTROLLER_ADDRESS not in addresses
    assert all(ipaddress.ip_address(address) in subnet for address in addresses)
    assert all(last < plan.FIRST_FREE for last in plan.FIXED.values())


def test_a_planned_host_keeps_its_address_whatever_is_taken() -> None:
    assert plan.address("pg1", ["10.213.77.100"]) == "10.213.77.11"


def test_another_host_gets_the_first_free_address() -> None:
    assert plan.address("web", []) == "10.213.77.100"
    assert plan.address("web", ["10.213.77.100", "10.213.77.102"]) == "10.213.77.101"


def test_a_full_lab_is_an_error() -> None:
    with pytest.raises(LabError, match="no address left for web"):
        plan.address("web", [f"10.213.77.{n}" for n in range(100, 200)])


@pytest.mark.parametrize("name", ["", "1pg", "PG1", "pg_1", "a" * 13, "pg1/..", "controller", "localhost", "_squid"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(LabError):
        plan.check_name(name)


@pytest.mark.parametrize("name", plan.FIXED)
def test_interface_names_fit_the_kernel(name: str) -> None:
    assert len(plan.veth(plan.check_name(name))) <= 15


def test_the_longest_name_fits_the_kernel() -> None:
    assert len(plan.veth(plan.check_name("a" * 12))) == 15


def test_bookworm_installs_from_three_distributions() -> None:
    text = plan.apt_sources("bookworm")
    assert [line for line in text.splitlines() if line.startswith("Suites")] == [
        "Suites: bookworm",
        "Suites: bookworm-updates",
        "Suites: bookworm-security",
    ]
    assert "URIs: http://deb.debian.org/debian-security" in text
    assert text.count("Signed-By") == 3


def test_sid_has_one_distribution_and_an_unknown_suite_is_an_error() -> None:
    assert plan.apt_sources("sid").count("URIs") == 1
    with pytest.raises(LabError, match="'potato'"):
        plan.apt_sources("potato")


def test_a_host_is_asked_for_by_its_name_and_suite() -> None:
    assert plan.wanted(["a", "b@sid", "a"]) == {"a": None, "b": "sid"}
    assert plan.wanted(["a", "b@sid"], "trixie") == {"a": "trixie", "b": "sid"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a@potato"], "'potato' is not known"),
        (["a@"], "'' is not known"),
        (["@sid"], "'' is not a host name"),
        (["a@sid@sid"], "'sid@sid' is not known"),
        (["a", "a@sid"], "a is asked for as bookworm and as sid"),
    ],
)
def test_a_suite_that_can_not_be_is_an_error(words: list[str], message: str) -> None:
    with pytest.raises(LabError, match=message):
        plan.wanted(words)


def test_the_environment_moves_the_cache() -> None:
    assert plan.paths({}).run == Path("/var/cache/boringdb/lab/run")
    assert plan.paths({"BORINGDB_LAB_CACHE": ""}).run == Path("/var/cache/boringdb/lab/run")
    assert plan.paths({"BORINGDB_LAB_CACHE": "/srv/x"}).key == Path("/srv/x/run/id_ed25519")


@pytest.mark.parametrize("cache", ["relative", "/with space", "/with:colon", "/with,comma"])
def test_a_cache_path_that_mount_options_cannot_carry_is_an_error(cache: str) -> None:
    with pytest.raises(LabError, match="BORINGDB_LAB_CACHE"):
        plan.paths({"BORINGDB_LAB_CACHE": cache})


def test_the_inventory_has_the_planned_addresses() -> None:
    inventory = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())
    found: dict[str, str] = {}
    for group in inventory.values():
        for name, variables in (group.get("hosts") or {}).items():
            if variables:
                found[name] = variables["ansible_host"]
    assert found
    assert found == {name: plan.address(name, []) for name in found}
