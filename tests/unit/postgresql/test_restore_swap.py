# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exchange of data directories, interrupted at every single rename and link: doing it again ends in the same."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import restore_swap

ENDING, GIVEN_UP = ".before-x", ".undone-x"


class Killed(BaseException):
    """What a kill is here: nothing catches it."""


def make(data: Path, what: str, spaces: dict[str, Path]) -> None:
    """A data directory with tablespaces, each with one file that tells whose it is."""
    (data / "pg_tblspc").mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    (data / "whose").write_text(what)
    for oid, place in spaces.items():
        place.mkdir(parents=True)
        (place / "whose").write_text(what)
        (data / "pg_tblspc" / oid).symlink_to(place)


def seen(data: Path) -> dict[str, str]:
    """Whose a data directory is, and each tablespace that its links lead to."""
    links = {link.name: (link / "whose").read_text() for link in (data / "pg_tblspc").iterdir()}
    return {"data": (data / "whose").read_text(), **links}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An old data directory and a new one, with a tablespace that both have, and one that each has alone."""
    spaces = tmp_path / "spaces"
    make(tmp_path / "data", "old", {"1": spaces / "one", "2": spaces / "two"})
    new = {"1": spaces / "one", "3": spaces / "three"}
    make(tmp_path / "data.restoring", "new", {oid: Path(f"{place}.restoring") for oid, place in new.items()})
    return tmp_path


def exchange(home: Path) -> None:
    """As `replaced` does it."""
    homes = {"1": home / "spaces/one", "3": home / "spaces/three"}
    restore_swap.exchange(home / "data.restoring", home / "data", home / f"data{ENDING}", ENDING, homes)


def back(home: Path) -> None:
    """As `undone` does it."""
    away = home / f"data{GIVEN_UP}"
    restore_swap.move_back(home / "data", home / f"data{ENDING}", ENDING, away, GIVEN_UP)


def aside(home: Path) -> None:
    """As a replica's data is moved aside."""
    restore_swap.move_aside(home / "data", home / f"data{ENDING}", ENDING)


def interrupted(act: Callable[[Path], None], home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh copy of the ground for every moment at which `act` can be killed, killed there and done again."""
    for step in itertools.count():
        ground = home.with_name(f"{home.name}.{step}")
        shutil.copytree(home, ground, symlinks=True)
        for link in [*ground.glob("*/pg_tblspc/*")]:
            target = str(link.readlink()).replace(str(home), str(ground), 1)
            link.unlink()
            link.symlink_to(target)
        left = [step]

        def dying(real: Any, left: list[int]) -> Any:
            def one(*words: Any) -> Any:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return real(*words)

            return one

        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "symlink_to"):
                patch.setattr(Path, name, dying(getattr(Path, name), left))
            try:
                act(ground)
                done = True
            except Killed:
                done = False
        if done:
            assert step > 2
            yield ground
            return
        act(ground)
        yield ground


def test_new_takes_the_place_of_old_whenever_it_is_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ground in interrupted(exchange, home, monkeypatch):
        assert seen(ground / "data") == {"data": "new", "1": "new", "3": "new"}
        assert (ground / "data/pg_tblspc/1").readlink() == ground / "spaces/one"
        assert seen(ground / f"data{ENDING}") == {"data": "old", "1": "old", "2": "old"}
        assert not (ground / "data.restoring").exists()
        assert not list(ground.glob("spaces/*.restoring"))


def test_old_takes_its_place_again_whenever_it_is_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange(home)
    for ground in interrupted(back, home, monkeypatch):
        assert seen(ground / "data") == {"data": "old", "1": "old", "2": "old"}
        assert (ground / "data/pg_tblspc/1").readlink() == ground / "spaces/one"
        assert seen(ground / f"data{GIVEN_UP}") == {"data": "new", "1": "new", "3": "new"}


def test_a_replica_s_data_is_moved_aside_whenever_it_is_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ground in interrupted(aside, home, monkeypatch):
        assert not (ground / "data").exists()
        assert seen(ground / f"data{ENDING}") == {"data": "old", "1": "old", "2": "old"}
        assert not (ground / "spaces/one").exists()


def test_what_is_aside_already_is_not_overwritten(home: Path) -> None:
    (home / f"data{ENDING}").mkdir()
    with pytest.raises(OpsError, match="is there already"):
        aside(home)
    assert seen(home / "data")["data"] == "old"


def test_without_old_data_there_is_nothing_to_move(home: Path) -> None:
    shutil.rmtree(home / "data")
    shutil.rmtree(home / "spaces/one")
    exchange(home)
    assert seen(home / "data") == {"data": "new", "1": "new", "3": "new"}
    assert not (home / f"data{ENDING}").exists()


def test_a_tablespace_that_recovery_makes_anew_is_out_of_its_way_and_comes_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out(ground: Path) -> None:
        restore_swap.later_aside(ground / "data", [ground / "spaces/two"], ENDING)

    def put(ground: Path) -> None:
        restore_swap.later_back(ground / "data", [ground / "spaces/two"], ENDING)

    for ground in interrupted(out, home, monkeypatch):
        assert list((ground / "spaces/two").iterdir()) == []
        assert seen(ground / "data") == {"data": "old", "1": "old", "2": "old"}
    home = home.rename(home.with_name("second"))
    for link in (home / "data/pg_tblspc").iterdir():
        target = home / "spaces" / link.readlink().name
        link.unlink()
        link.symlink_to(target)
    out(home)
    (home / "spaces/two/whose").write_text("recovery")
    for ground in interrupted(put, home, monkeypatch):
        assert seen(ground / "data") == {"data": "old", "1": "old", "2": "old"}
        assert (ground / "data/pg_tblspc/2").readlink() == ground / "spaces/two"
        assert not (ground / f"spaces/two{ENDING}").exists()
