# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`tablespace` on a real server: created once, and refused where it can't be."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_ground import Copy, Source
from embedded_servers import Server, as_user
from verify_ground import module


def place(server: Server, name: str) -> Path:
    """A directory beside a server that its owner may write to."""
    made = server.socket_dir / name
    subprocess.run([*as_user(server.owner), "mkdir", "-p", str(made)], check=True)
    return made


def declare(server: Server, *tablespaces: tuple[str, Path | str], **given: Any) -> dict[str, Any]:
    """The module with these tablespaces."""
    wanted = [{"name": name, "location": str(location)} for name, location in tablespaces]
    return module(server, "tablespace", tablespaces=wanted, **given)


def test_what_is_declared_is_created_once(quick: Server) -> None:
    fast, slow = place(quick, "fast"), place(quick, "slow one")
    wanted = (("fast", f"{fast}/"), ('odd "name"', slow))
    planned = declare(quick, *wanted, check=True)
    assert (planned["changed"], planned["created"]) == (True, ["fast", 'odd "name"'])
    assert planned["diff"]["after"] == f'tablespace fast: {fast}\ntablespace odd "name": {slow}\n'
    assert quick.psql("SELECT count(*) FROM pg_tablespace") == "2"
    done = declare(quick, *wanted)
    assert (done["changed"], done["tablespaces"]) == (True, {"fast": str(fast), 'odd "name"': str(slow)})
    assert "take a backup now" in str(done["warnings"])
    for check in (True, False):
        again = declare(quick, *wanted, check=check)
        assert (again["changed"], again["created"], again.get("warnings")) == (False, [], None)
    # What is not declared is left alone.
    assert declare(quick, ("fast", fast))["changed"] is False
    assert quick.psql("SELECT count(*) FROM pg_tablespace") == "4"
    quick.stop()
    assert declare(quick, *wanted, check=True)["changed"] is True
    assert "cannot connect" in declare(quick, *wanted, fails=True)["msg"]


def test_everything_wrong_is_refused_at_once_and_nothing_created(quick: Server) -> None:
    fast, other = place(quick, "fast"), place(quick, "other")
    declare(quick, ("fast", fast))
    said = declare(
        quick, ("pg_mine", other), ("relative", "srv"), ("up", "/srv/../etc"), ("quoted", "/srv/it's"),
        ("x" * 64, "/srv/y"), ("inside", quick.data_dir / "space"), ("twice", "/srv/t"), ("twice", "/srv/u"),
        ("same", "/srv/t/"), fails=True,
    )  # fmt: skip
    told = [reason["what"] for reason in said["reasons"]]
    assert told == [
        "tablespace 'pg_mine': no name for one",
        "tablespace relative: 'srv' is no place for it",
        "tablespace up: '/srv/../etc' is no place for it",
        'tablespace quoted: "/srv/it\'s" is no place for it',
        f"tablespace '{'x' * 64}': no name for one",
        f"tablespace inside: {quick.data_dir}/space lies in the server's own directory",
        "2 tablespaces have the name twice",
        "2 tablespaces have the location /srv/t",
    ]
    said = declare(quick, ("fast", other), ("new", fast), ("gone", "/nowhere/at/all"), fails=True)
    assert [reason["what"] for reason in said["reasons"]] == [
        f"tablespace fast lies in {fast}, not in {other}",
        f"{fast} is the place of tablespace fast",
        "there is no directory /nowhere/at/all",
    ]
    assert quick.psql("SELECT count(*) FROM pg_tablespace") == "3"
    # PostgreSQL gives itself what it needs in a directory that is its own.
    subprocess.run([*as_user(quick.owner), "chmod", "500", str(other)], check=True)
    declare(quick, ("opened", other))
    assert quick.psql("SELECT count(*) FROM pg_tablespace WHERE spcname = 'opened'") == "1"


def test_what_postgresql_refuses_is_told_in_its_words(quick: Server) -> None:
    inner = place(quick, "space/PG_16_202307071")
    said = declare(quick, ("space", inner.parent), fails=True)
    assert said["msg"] == f'directory "{inner}" already in use as a tablespace'


@pytest.fixture
def source(template: Callable[[int], Path]) -> Iterator[Source]:
    """A server that archives."""
    home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    home.chmod(0o755)
    made = Source(home, template(16))
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(home)


def test_a_copy_does_not_write_into_its_source_s_new_tablespace(source: Source) -> None:
    """One that a backup holds is put elsewhere; recovery would make one that is newer at its very place."""
    old, new = place(source.server, "old"), place(source.server, "new")
    declare(source.server, ("old", old))
    source.sql("CREATE TABLE first TABLESPACE old AS SELECT n FROM generate_series(1, 500) n")
    source.backup()
    source.write(1)
    declare(source.server, ("new", new))
    source.sql("CREATE TABLE second TABLESPACE new AS SELECT n FROM generate_series(1, 500) n", "CHECKPOINT")
    source.write(2)
    source.archive()
    before = source.tree(old, new)
    copy = Copy(source)
    said = copy.restore(fails=True)
    assert said["msg"].startswith(f"tablespace {new} of the running server in {source.server.data_dir} was created")
    assert source.tree(old, new) == before
    copy.remove()
    # With a backup that holds both, each goes below the copy.
    source.backup()
    source.write(3)
    source.archive()
    before = source.tree(old, new)
    copy.restore()
    places = copy.server.psql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE oid > 16383").split()
    assert len(places) == 2
    assert all(one.startswith(f"{copy.home}/data.tablespaces/") for one in places)
    assert copy.server.psql("SELECT count(*) FROM first NATURAL JOIN second") == "500"
    copy.server.psql("INSERT INTO second VALUES (0)", "CHECKPOINT")
    assert source.tree(old, new) == before
    copy.remove()
    assert not copy.home.exists() or [path.name for path in copy.home.iterdir()] in ([], ["run"])
