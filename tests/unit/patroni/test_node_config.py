# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which configuration runs a server, what is read from it, and what is patched where a setting means another value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import node as nodes
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.config import OWNED, config, patch_for
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import Node, manager_of
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.patroni import difference, lines, picked
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import Kind
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import Places, Row

CONFIGURATION = """
scope: orders
name: db1
restapi:
  listen: 0.0.0.0:8008
  connect_address: 192.0.2.11:8008
  authentication: {username: patroni, password: for this test}
etcd3: {hosts: ['192.0.2.11:2379']}
postgresql:
  data_dir: DATA
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where configurations are looked for, instead of this machine's."""
    monkeypatch.setattr(nodes, "_PLACES", (f"{tmp_path}/etc/*.yml",))
    monkeypatch.setattr(nodes, "_of_processes", lambda: iter(()))
    (tmp_path / "etc").mkdir()
    return tmp_path


@pytest.mark.parametrize("written", ["DATA", "'DATA'", '"DATA"', "DATA  # the first", "LINK"])
def test_patroni_runs_what_its_configuration_names(place: Path, written: str) -> None:
    data = place / "data"
    data.mkdir()
    (place / "link").symlink_to(data)
    named = written.replace("DATA", str(data)).replace("LINK", str(place / "link"))
    (place / "etc/config.yml").write_text(CONFIGURATION.replace("DATA", named))
    assert manager_of({"data_dir": str(data)}) == "patroni"
    assert manager_of({"data_dir": f"{data}base"}) is None
    node = Node.of({"data_dir": str(data)})
    assert (node.scope, node.name, node.api.url) == ("orders", "db1", "http://192.0.2.11:8008")
    assert "for this test" not in repr(node)


def test_a_configuration_may_be_one_line(place: Path) -> None:
    data = str(place / "data")
    content = {"scope": "orders", "name": "db1", "restapi": {"listen": "h:1"}, "postgresql": {"data_dir": data, "x": 1}}
    (place / "etc/config.yml").write_text(json.dumps(content))
    assert Node.of({"data_dir": data}).api.url == "http://h:1"


def test_nothing_runs_what_nobody_names(place: Path) -> None:
    assert manager_of({"data_dir": str(place / "data")}) is None
    (place / "etc/other.yml").write_text("postgresql: {}\n")
    assert manager_of({"data_dir": str(place / "data")}) is None
    with pytest.raises(OpsError, match="no configuration of Patroni names"):
        Node.of({"data_dir": str(place / "data")})


@pytest.mark.parametrize(("text", "words"), [
    ("scope: [for this secret\npostgresql:\n  data_dir: DATA\n", "is no YAML"),
    ("name: db1\npostgresql:\n  data_dir: DATA\n", "names no scope, restapi.connect_address"),
    ("postgresql:\n  data_dir: DATA\nrestapi: 5\n", "."),
])  # fmt: skip
def test_what_is_wrong_there_is_one_line_without_its_secrets(place: Path, text: str, words: str) -> None:
    (place / "etc/config.yml").write_text(text.replace("DATA", str(place / "data")))
    with pytest.raises(OpsError, match=words) as raised:
        Node.of({"data_dir": str(place / "data")})
    assert "secret" not in str(raised.value)


def test_with_a_certificate_it_is_asked_over_tls() -> None:
    content = {"scope": "a", "name": "b", "restapi": {"listen": "h:1", "certfile": "/c", "cafile": "/ca"}}
    api = Node.read(Path("x"), content).api
    assert (api.url, api.cafile) == ("https://h:1", "/ca")


# --- settings ---------------------------------------------------------------------------------------------------

KINDS = [Kind("shared_buffers", "integer", "8kB", (), "postmaster"), Kind("fsync", "bool", None, (), "sighup"),
         Kind("work_mem", "integer", "kB", (), "user")]  # fmt: skip
KNOWN = Places({kind.name: Row(kind, "1", "1", "1", False, "default") for kind in KINDS}, [], {})
RULE = {"type": "local", "database": "all", "user": "all", "address": None, "method": "peer"}


def given(settings: dict[str, Any], hba: Any = None, file: str = "boringdb") -> dict[str, Any]:
    """The options of `config`."""
    return {"settings": settings, "hba": hba, "file": file, "reset_auto": False}


def has(parameters: dict[str, Any], **note: list[str]) -> dict[str, Any]:
    """A distributed configuration."""
    return {"ttl": 30, "postgresql": {"parameters": parameters}, "boringdb": note}


def test_what_means_the_same_is_not_patched() -> None:
    now = has({"shared_buffers": "131072", "fsync": True, "work_mem": "4MB"}, boringdb=["fsync", "shared_buffers"])
    assert patch_for(now, given({"shared_buffers": "1GB", "fsync": "on"}), KNOWN) == {}


def test_what_is_no_longer_declared_goes_and_what_others_declare_stays() -> None:
    now = has({"work_mem": "4MB", "fsync": "on", "jit": "off"}, boringdb=["fsync", "work_mem"], backup=["jit"])
    patch = patch_for(now, given({"work_mem": "8MB"}), KNOWN)
    assert patch["postgresql"]["parameters"] == {"work_mem": "8MB", "fsync": None}
    assert patch["boringdb"] == {"boringdb": ["work_mem"]}
    assert patch_for(now, given({}, file="backup"), KNOWN)["boringdb"] == {"backup": None}


def test_a_cluster_without_a_note_of_ours_loses_nothing() -> None:
    now = {"postgresql": {"parameters": {"jit": "off"}}}
    assert patch_for(now, given({"fsync": True}), KNOWN)["postgresql"] == {"parameters": {"fsync": "on"}}
    assert patch_for({}, given({}), KNOWN) == {}


def test_rules_are_compared_as_a_whole() -> None:
    now = {"postgresql": {"pg_hba": ["local  all  all  peer"]}}
    assert patch_for(now, given({}, [RULE]), KNOWN) == {}
    assert patch_for(now, given({}), KNOWN) == {}
    assert patch_for(now, given({}, [RULE, RULE]), KNOWN)["postgresql"]["pg_hba"] == ["local  all  all  peer"] * 2


def test_patronis_own_is_refused_all_at_once(place: Path) -> None:
    data = place / "data"
    (place / "etc/config.yml").write_text(CONFIGURATION.replace("DATA", str(data)))
    options = {"data_dir": str(data), "port": 5432, "socket_dir": "/tmp", **given(dict.fromkeys(OWNED, "1"))}
    with pytest.raises(Refused) as raised:
        config(options, check_mode=True)
    assert len(raised.value.reasons) == len(OWNED)


@pytest.mark.parametrize(("now", "wanted", "patch"), [
    ({"ttl": 30}, {"ttl": 30}, {}),
    ({"ttl": 30}, {"ttl": "30"}, {}),
    ({"failsafe_mode": True}, {"failsafe_mode": "on"}, {}),
    ({"ttl": 30}, {"ttl": 20, "loop_wait": 5}, {"ttl": 20, "loop_wait": 5}),
    ({"ttl": 30}, {"ttl": None, "pause": None}, {"ttl": None}),
    ({"postgresql": {"use_slots": True, "parameters": {"a": 1}}}, {"postgresql": {"use_slots": True}}, {}),
    ({}, {"postgresql": {"use_slots": True}}, {"postgresql": {"use_slots": True}}),
    ({"postgresql": 5}, {"postgresql": {"use_slots": True}}, {"postgresql": {"use_slots": True}}),
])  # fmt: skip
def test_patronis_settings_are_patched_where_they_differ(now: Any, wanted: Any, patch: Any) -> None:
    assert difference(now, wanted) == patch


def test_a_difference_names_what_changes_and_nothing_else() -> None:
    now = {"ttl": 30, "postgresql": {"use_slots": False}, "secret": "x"}
    patch = {"ttl": 20, "loop_wait": None, "postgresql": {"use_slots": True}}
    assert lines(picked(now, patch)) == "postgresql.use_slots = False\nttl = 30\n"
    assert lines(patch) == "postgresql.use_slots = True\nttl = 20\n"
