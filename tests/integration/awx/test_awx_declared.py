# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All is declared to a server that keeps what it is given: dry, once, twice, and after somebody changed it there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[2]
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from stub import TOKEN, Awx  # noqa: E402

from tests.modules import warm  # noqa: E402
from tests.packed import packed  # noqa: E402

#: The release of the PyPI package that has awx.awx in it; far too large to be a requirement of every environment.
RELEASE = "ansible==12.3.0"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with awx.awx, kept below CACHE between runs."""
    cache = Path(os.environ.get("CACHE") or tmp_path_factory.mktemp("cache"))
    place = cache / f"awx-{RELEASE.rpartition('=')[2]}"
    if not (place / "ansible_collections/awx/awx/MANIFEST.json").is_file():
        folder = tmp_path_factory.mktemp("wheel")
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, RELEASE],
            check=True,
            timeout=300,
        )
        [wheel] = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith("ansible_collections/awx/")]
            archive.extractall(folder / "out", names)
        place.mkdir(parents=True, exist_ok=True)
        if not (place / "ansible_collections").exists():
            (folder / "out/ansible_collections").rename(place / "ansible_collections")
    return place


@pytest.fixture(scope="module")
def awx() -> Iterator[Awx]:
    """The server."""
    server = Awx()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def run(awx: Awx, collections: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The playbook, with the server's address and token in the environment."""
    home = tmp_path_factory.mktemp("home")

    def call(*words: str, **values: object) -> subprocess.CompletedProcess[str]:
        given = {"awx_clusters": ["orders"], "awx_project_url": "https://git.example.com/ops.git",
                 "ansible_python_interpreter": str(warm().python), **values}  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CONTROLLER_"))}
        environment = {
            **kept, **packed(), "HOME": str(home), "CONTROLLER_HOST": awx.url, "CONTROLLER_OAUTH_TOKEN": TOKEN,
            "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": f"{REPO}/.collections:{collections}",
        }  # fmt: skip
        return subprocess.run(
            [
                Path(sys.executable).with_name("ansible-playbook"),
                "-i",
                "localhost,",
                REPO / "playbooks/awx.yml",
                "-e",
                json.dumps(given),
                *words,
            ],
            cwd=REPO,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call


#: AWX's own messages are declared, too.
MAIL = {"awx_mail": {"host": "mail.example.com", "sender": "awx@example.com", "recipients": ["dba@example.com"]}}


def changed(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    match = re.search(r"localhost +: ok=\d+ +changed=(\d+)", done.stdout)
    assert match
    return int(match[1])


def test_declared_once(awx: Awx, run: Run) -> None:
    """Refused with every reason; a dry run; then everything is there, and a second run asks and writes nothing."""
    refused = run(awx_clusters=[], awx_project_url="")
    assert refused.returncode == 2
    assert "awx_clusters is empty" in refused.stdout and "awx_project_url is not set" in refused.stdout
    dry = run("--check")
    assert changed(dry) == 1 and not awx.writes and "21 job templates, 3 schedules" in dry.stdout
    done = run(**MAIL)
    assert changed(done) > 5
    assert TOKEN not in done.stdout and awx.headers == {f"Bearer {TOKEN}"}
    awx.writes.clear()
    again = run(**MAIL)
    assert changed(again) == 0 and not awx.writes, again.stdout[-4000:]


def test_what_is_there_is_what_was_meant(awx: Awx) -> None:
    """Surveys, credentials, the workflow's ends and the schedules, as the server has them."""
    assert len(awx.names("job_templates")) == 21
    drill = awx.named("job_templates", "boringdb restore_drill")
    assert (
        drill["playbook"] == "playbooks/restore_drill.yml"
        and drill["ask_job_type_on_launch"]
        and drill["allow_simultaneous"]
    )
    assert awx.links("job_templates", drill["id"], "credentials") == ["boringdb evidence", "boringdb ssh"]
    assert awx.links("job_templates", drill["id"], "notification_templates_error") == ["boringdb mail"]
    spec = {one["variable"]: one for one in awx.survey("job_templates", "boringdb restore_drill")["spec"]}
    assert spec["cluster"]["choices"] == ["orders"] and spec["cluster"]["required"]
    assert spec["restore_drill_target_type"]["default"] == "latest" and spec["restore_drill_target"]["type"] == "text"
    assert spec["restore_drill_keep_failed"]["choices"] == ["true", "false"]
    assert spec["restore_drill_keep_failed"]["default"] == "false"
    number = {one["variable"]: one for one in awx.survey("job_templates", "boringdb switchover")["spec"]}[
        "switchover_max_lag_bytes"
    ]
    assert (number["type"], number["default"], number["min"]) == ("integer", 16777216, 0)
    for kind in awx.objects["credential_types"].values():
        assert (
            "{{ tower.filename" not in str(kind.get("injectors", {}).get("env", ""))
            or kind["name"] == "boringdb notification"
        )
    key = awx.named("credential_types", "boringdb evidence key")
    assert key["injectors"]["file"]["template.private_key"] == "{{ private_key }}\n"
    assert all("inputs" not in one for one in awx.objects["credentials"].values())
    nodes = {one["identifier"]: one for one in awx.objects["workflow_job_template_nodes"].values()}
    ends = {
        name: {end: found for end in ("success", "failure", "always")
               if (found := awx.links("workflow_job_template_nodes", node["id"], f"{end}_nodes", "identifier"))}
        for name, node in nodes.items()
    }  # fmt: skip
    assert ends == {
        "drill": {"success": ["approval"], "failure": ["notification"]},
        "approval": {"success": ["report"], "failure": ["notification"]},
        "report": {"always": ["notification"]},
        "notification": {},
    }
    assert awx.find("workflow_approval_templates", nodes["approval"]["unified_job_template"])["timeout"] == 604800
    assert awx.find("job_templates", nodes["drill"]["unified_job_template"])["name"] == "boringdb restore_drill"
    assert awx.names("schedules") == ["boringdb backup orders", "boringdb drill orders", "boringdb notification"]
    assert awx.named("schedules", "boringdb drill orders")["extra_data"] == {"cluster": "orders"}


def test_what_somebody_changed_there_is_put_right(awx: Awx, run: Run) -> None:
    """And what people filled in, a credential, is left."""
    drill = awx.named("job_templates", "boringdb restore_drill")
    drill["playbook"] = "playbooks/report.yml"
    awx.survey("job_templates", "boringdb restore")["spec"][1]["required"] = False
    awx.named("credentials", "boringdb evidence")["inputs"] = {"private_key": "$encrypted$"}
    done = run(**MAIL)
    assert changed(done) == 1 and drill["playbook"] == "playbooks/restore_drill.yml", done.stdout
    assert awx.survey("job_templates", "boringdb restore")["spec"][1]["required"]
    assert awx.named("credentials", "boringdb evidence")["inputs"] == {"private_key": "$encrypted$"}
