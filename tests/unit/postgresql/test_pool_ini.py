# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pgbouncer.ini: what is read is what was written, and a changed route changes nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import pool_ini

BY_HAND = """\
;; written by hand
[databases]
; shop = host=commented port=1
shop = host=10.0.0.1   port=5432 dbname=shop
"odd ""name" = host = 10.0.0.1 password='it''s a secret' pool_size=7
socketed = dbname=other
shop = host=10.0.0.2 port=5433 connect_query='SET x = 1'
%include {more}

[pgbouncer]
listen_port = 6432
listen_port = 6433
"""
MORE = "included = host=10.0.0.9\n[users]\nshop = pool_mode=session\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of two files."""
    (tmp_path / "more").write_text(MORE)
    place = tmp_path / "pgbouncer.ini"
    place.write_text(BY_HAND.format(more=tmp_path / "more"))
    return place


def test_the_last_line_of_a_key_counts_in_all_files(config: Path) -> None:
    found = pool_ini.read(config)
    assert found.settings == {"listen_port": "6433"}
    routes = {name: pool_ini.route_of(line) for name, line in found.databases.items()}
    assert routes == {
        "shop": ("10.0.0.2", 5433), 'odd "name': ("10.0.0.1", 5432), "socketed": ("", 5432),
        "included": ("10.0.0.9", 5432),
    }  # fmt: skip
    assert pool_ini.words(found.databases['odd "name'].value)["password"] == "it's a secret"


@pytest.mark.parametrize("name", ["shop", 'odd "name', "socketed", "included"])
def test_a_changed_route_changes_nothing_else(config: Path, name: str) -> None:
    before = pool_ini.read(config)
    line = before.databases[name]
    old = line.file.read_text()
    new = pool_ini.routed(old, line.number, "10.0.0.3", 5444)
    differing = [number for number, pair in enumerate(zip(old.splitlines(), new.splitlines())) if pair[0] != pair[1]]
    assert differing == [line.number]
    line.file.write_text(new)
    after = pool_ini.read(config)
    assert pool_ini.route_of(after.databases[name]) == ("10.0.0.3", 5444)
    kept, was = (pool_ini.words(found.databases[name].value) for found in (after, before))
    assert {**kept, "host": "", "port": ""} == {**was, "host": "", "port": ""}
    others = set(before.databases) - {name}
    assert {other: after.databases[other] for other in others} == {other: before.databases[other] for other in others}


@pytest.mark.parametrize("value", ["", "plain", "two words", "it's", "'", "a=b", "\u00e4"])
def test_what_is_written_is_read_again(tmp_path: Path, value: str) -> None:
    databases = {name: {"host": "10.0.0.1", "connect_query": value} for name in ("shop", "my-shop", 'a"b', "a b")}
    text = pool_ini.rendered("orders", databases, {"listen_port": "6432", "admin_users": "a, b"})
    place = tmp_path / "ini"
    place.write_text(text)
    found = pool_ini.read(place)
    assert {name: pool_ini.words(line.value) for name, line in found.databases.items()} == databases
    assert found.settings == {"listen_port": "6432", "admin_users": "a, b"}
    assert pool_ini.owner_of(place) == "orders"
    assert pool_ini.owner_of(tmp_path / "none") is None


def test_users_are_read_as_they_were_written(tmp_path: Path) -> None:
    users = {"app": "SCRAM-SHA-256$4096:x$y:z", 'a"b': 'pass"word', "c d": ""}
    place = tmp_path / "userlist.txt"
    place.write_text(pool_ini.users_text(users))
    assert pool_ini.users_of(place) == users


@pytest.mark.parametrize(("text", "says"), [
    ("%include more.ini\n", "a relative path"), ("%include {here}\n", "in a circle"),
    ("%include /nowhere/at/all\n", "cannot read /nowhere/at/all"),
])  # fmt: skip
def test_what_can_not_be_followed_is_said(tmp_path: Path, text: str, says: str) -> None:
    place = tmp_path / "ini"
    place.write_text(text.format(here=place))
    with pytest.raises(OpsError, match=says):
        pool_ini.read(place)


def test_a_string_that_is_none_is_refused_without_its_values() -> None:
    with pytest.raises(OpsError) as caught:
        pool_ini.words("host=a password='never ends")
    assert "ends" not in str(caught.value)
