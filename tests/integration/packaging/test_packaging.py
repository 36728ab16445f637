# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection runs from a plain checkout by name and by path, and installed from the tarball that it builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
PLAYBOOKS = sorted(path.stem for path in (REPO / "playbooks").glob("*.yml"))
BY_NAME = [f"boringdb.ops.{name}" for name in PLAYBOOKS]
BY_PATH = [f"playbooks/{name}.yml" for name in PLAYBOOKS]


@dataclass(frozen=True)
class Way:
    """One way to run the collection: where from, with which settings, and how its playbooks are named."""

    folder: Path
    environment: dict[str, str]
    playbooks: list[str]
    inventory: Path

    def run(self, program: str, *words: str | Path) -> str:
        """What a program printed; fails the test, with all of it, when it did not succeed."""
        done = subprocess.run(
            [BIN / program, "-i", self.inventory, *words], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment in which neither the user's settings nor collections in the user's home can help."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {**kept, "HOME": str(home), "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1", **more}


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as it is published."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "build", "--output-path", folder], cwd=REPO,
        env=environment(folder), stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True,
    )
    [built] = folder.glob("boringdb-ops-*.tar.gz")
    return built


@pytest.fixture(scope="session")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Way:
    """The tarball's content, away from the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "install", tarball, "-p", folder, "--no-deps", "--offline"], cwd=folder,
        env=environment(folder), stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True,
    )
    root = folder / "ansible_collections" / "boringdb" / "ops"
    return Way(
        folder, environment(folder, ANSIBLE_COLLECTIONS_PATH=str(folder)), BY_NAME, root / "inventories" / "local"
    )


@pytest.fixture(params=["checkout by name", "checkout by path", "installed"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    """Each of the three ways in turn."""
    if request.param == "installed":
        return request.getfixturevalue("installed")
    names = BY_NAME if request.param == "checkout by name" else BY_PATH
    return Way(REPO, environment(tmp_path), names, REPO / "inventories" / "local")


def test_every_playbook_is_found_and_well_formed(way: Way) -> None:
    said = way.run("ansible-playbook", "--syntax-check", "-e", "cluster=orders", *way.playbooks)
    # A name that is resolved to nothing is an error; a playbook that is left out, or another one of its name, is not.
    found = [Path(line.partition(": ")[2]) for line in said.splitlines() if line.startswith("playbook: ")]
    assert [path.stem for path in found] == PLAYBOOKS
    assert all((way.folder / path).is_relative_to(way.folder) for path in found)


def test_a_module_with_all_that_it_imports_runs(way: Way) -> None:
    said = way.run(
        "ansible", "localhost", "-m", "boringdb.ops.instance_info", "-a", "data_dir=/nonexistent",
        "-e", "ansible_connection=local", "-e", f"ansible_python_interpreter={sys.executable}",
        "--one-line",
    )
    result = json.loads(said[said.index("=> ") + 3:])
    assert result["instance"]["state"] == "absent"
    assert result["changed"] is False


def test_the_tarball_holds_what_runs_and_no_traces(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    assert {f"playbooks/{name}.yml" for name in PLAYBOOKS} <= set(names)
    assert {"plugins/modules/instance_info.py", "meta/runtime.yml", "LICENSE"} <= set(names)
    traces = {".git", ".ansible", ".cache", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"}
    assert [name for name in names if traces & set(Path(name).parts)] == []
