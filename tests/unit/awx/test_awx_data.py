# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared for AWX agrees with the playbooks and the roles, and with itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from dateutil.rrule import rrulestr

REPO = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
#: Playbooks that are no jobs: AWX has schedules of its own, the key is made once, a follow-up is signed with a
#: person's own key, Patroni's reinitialize is not for a click, and the first declares the jobs.
NO_JOBS = {"awx", "evidence_key", "follow_up", "patroni", "schedule"}


class Loader(yaml.SafeLoader):
    """Reads what Ansible must not template as the text that it is."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader)


DATA: dict[str, Any] = {}
for file in sorted((REPO / "roles/awx/vars/main").glob("*.yml")):
    DATA |= load(file)
DEFAULTS = load(REPO / "roles/awx/defaults/main.yml")
JOBS = {job["playbook"]: job for job in DATA["__awx_job_templates"]}
QUESTIONS = [(job, one) for job in JOBS for one in JOBS[job]["survey"]]


def roles_of(playbook: str) -> set[str]:
    """The roles that a playbook runs, and those that these run."""
    found: set[str] = set()
    texts = [(REPO / "playbooks" / f"{playbook}.yml").read_text()]
    while texts:
        for role in set(re.findall(r"(?:role|name): boringdb\.ops\.(\w+)$", texts.pop(), re.MULTILINE)) - found:
            if (REPO / "roles" / role).is_dir():
                found.add(role)
                texts += [path.read_text() for path in (REPO / "roles" / role / "tasks").glob("*.yml")]
    return found


def options(role: str) -> dict[str, Any]:
    """What a role takes, by any of its entry points."""
    found: dict[str, Any] = {}
    for entry in load(REPO / "roles" / role / "meta/argument_specs.yml")["argument_specs"].values():
        found |= entry.get("options") or {}
    return found


def test_each_playbook_is_a_job_or_none_on_purpose() -> None:
    playbooks = {path.stem for path in (REPO / "playbooks").glob("*.yml")}
    assert {*JOBS, *NO_JOBS} == playbooks and len(JOBS) == len(DATA["__awx_job_templates"])


@pytest.mark.parametrize(("job", "question"), QUESTIONS, ids=[f"{job}-{one['variable']}" for job, one in QUESTIONS])
def test_a_question_is_what_the_role_takes(job: str, question: dict[str, Any]) -> None:
    """Name, type, choices and default are those of the argument specs."""
    name = question["variable"]
    found = [spec[name] for role in sorted(roles_of(job)) if name in (spec := options(role))]
    if name == "cluster" and not found:
        assert "cluster" in (REPO / "playbooks" / f"{job}.yml").read_text()
        found = [{"type": "str"}]
    assert found, f"no role of {job} takes {name}"
    for spec in found:
        assert question["type"] == spec.get("type", "str")
        if name == "cluster" and job != "fleet":
            assert question["choices"] == "{{ awx_clusters }}"
        else:
            assert question.get("choices") == spec.get("choices")
        if question.get("required"):
            assert "default" not in question
        else:
            default = spec.get("default")
            assert question["default"] == default and isinstance(question["default"], type(default))


def test_who_destroys_asks_once_more() -> None:
    """Every playbook whose roles want `confirm` has the question, without an answer to click on.

    Required, but for a drill that kills on request only: the other one has to go without a person.
    """
    for job in JOBS:
        texts = [path.read_text() for role in roles_of(job) for path in (REPO / "roles" / role / "vars").rglob("*.yml")]
        wanted = any(re.search(r"\bconfirm \| default", text) for text in texts)
        asked = [one for one in JOBS[job]["survey"] if one["variable"] == "confirm"]
        assert len(asked) == wanted, job
        assert not any("choices" in one or one.get("default") for one in asked)
        assert all(one.get("required", False) is (job != "failover_drill") for one in asked)
    assert sum(one["variable"] == "confirm" for _job, one in QUESTIONS) == 3


def test_no_member_is_left_out_by_a_click() -> None:
    """A limit or free variables at the launch would go around what the survey asks."""
    text = (REPO / "roles/awx/tasks/declare.yml").read_text()
    assert "ask_limit" not in text and "ask_variables" not in text


def test_every_reference_leads_somewhere() -> None:
    """Workflow to job, job to credential, credential to its type; every node is reached, from one beginning."""
    types = {one["name"] for one in DATA["__awx_credential_types"]}
    assert all(one["credential_type"] in {*types, "Machine"} for one in DATA["__awx_credentials"])
    assert {one["credential_type"] for one in DATA["__awx_credentials"]} >= types
    credentials = {one["name"] for one in DATA["__awx_credentials"]}
    for job in JOBS.values():
        assert set(job["credentials"]) <= credentials and len(set(job["credentials"])) == len(job["credentials"])
    assert {name for job in JOBS.values() for name in job["credentials"]} == credentials
    nodes = {node["id"]: node for node in DATA["__awx_workflow"]["nodes"]}
    ends = {
        name: [one for end in ("success", "failure", "always") for one in node.get(end, [])]
        for name, node in nodes.items()
    }
    led_to = {one for targets in ends.values() for one in targets}
    assert led_to <= set(nodes) and set(nodes) - led_to == {"drill"}
    order = list(nodes)
    assert all(order.index(one) > order.index(name) for name, targets in ends.items() for one in targets)
    assert all(node.get("job", "report") in JOBS for node in nodes.values())
    assert all(not ends[name] or "notification" in ends[name] or name == "drill" for name in nodes)
    assert nodes["drill"]["failure"] == nodes["approval"]["failure"] == ["notification"]


def test_what_runs_by_itself_has_an_answer_to_every_question() -> None:
    """A schedule and a node give what a survey requires, and nothing that it would not take."""
    workflow = DATA["__awx_workflow"]
    given = {one["variable"] for one in workflow["survey"]}
    for node in workflow["nodes"]:
        if "job" in node:
            assert {one["variable"] for one in JOBS[node["job"]]["survey"] if one.get("required")} <= given
    for one in DATA["__awx_schedules"]:
        survey = workflow["survey"] if one.get("workflow") else JOBS[one["job"]]["survey"]
        answers = {**one.get("answers", {}), **({"cluster": "orders"} if one.get("each") else {})}
        asked = {question["variable"]: question for question in survey}
        assert set(answers) <= set(asked)
        assert {name for name, question in asked.items() if question.get("required")} <= set(answers)
        assert all(
            answer in asked[name].get("choices", [answer]) for name, answer in answers.items() if name != "cluster"
        )


@pytest.mark.parametrize("name", [name for name in DEFAULTS if name.endswith("_rrule")])
def test_times_are_what_awx_can_read(name: str) -> None:
    """One DTSTART in UTC, one RRULE with INTERVAL, and it goes on."""
    start, rule = DEFAULTS[name].split(" ")
    assert re.fullmatch(r"DTSTART:\d{8}T\d{6}Z", start) and re.match(r"RRULE:FREQ=\w+;INTERVAL=\d+", rule)
    times = rrulestr(f"{start}\n{rule}")
    now = datetime(2030, 1, 1, tzinfo=timezone.utc)
    following = times.after(now)
    assert following and times.after(following) and (following - now).days < 8
    assert name in str(DATA["__awx_schedules"])


@pytest.mark.parametrize("kind", DATA["__awx_credential_types"], ids=lambda kind: kind["name"])
def test_secrets_go_into_files_and_the_environment(kind: dict[str, Any]) -> None:
    """Never a variable; every field is injected, and what is injected is read somewhere."""
    fields = {field["id"]: field for field in kind["inputs"]["fields"]}
    injectors = kind["injectors"]
    files = {name.removeprefix("template."): text for name, text in injectors.get("file", {}).items()}
    for value in injectors.get("extra_vars", {}).values():
        assert re.fullmatch(r"\{\{ tower\.filename\.(\w+) \}\}", value) and value[18:-3] in files
    placed = "".join([*files.values(), *injectors["env"].values()])
    for name, field in fields.items():
        assert re.search(rf"\{{\{{ {name}( \| default\(''\))? \}}\}}", placed), name
        if name not in kind["inputs"].get("required", []):
            assert f"{{{{ {name} | default('') }}}}" in placed
        assert field.get("secret") or name == "public_key"
    pages = "".join(path.read_text() for path in [REPO / "docs/awx.md", *(REPO / "roles").glob("*/defaults/main.yml")])
    for name in injectors["env"]:
        assert re.search(rf"lookup\('ansible\.builtin\.env', '{name}'\)", pages), name
    for name in injectors.get("extra_vars", {}):
        assert name in options("evidence")


def test_no_variable_is_one_that_awx_gives_to_jobs() -> None:
    given = "job|user|inventory_(id|name)|project_(revision|scm)|schedule|workflow|webhook_(event|status)|parent"
    assert not [name for name in DEFAULTS if re.match(rf"awx_({given})", name)]
    assert set(DEFAULTS) == set(options("awx"))
    for name, spec in options("awx").items():
        assert spec["default"] == DEFAULTS[name]


def test_what_comes_as_text_is_taken_for_what_it_means() -> None:
    """A survey's answer and `-e name=false` are text, and any text is true: each use of a boolean says what it is."""
    names = {
        name
        for path in REPO.glob("roles/*/meta/argument_specs.yml")
        for name, spec in options(path.parents[1].name).items()
        if spec.get("type") == "bool"
    }
    word = re.compile(rf"\b({'|'.join(sorted(names))})\b")
    bare = []
    for path in [*REPO.glob("roles/*/tasks/*.yml"), *REPO.glob("roles/*/vars/*.yml"), *REPO.glob("playbooks/*.yml")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            text = re.sub(r"\.append\('[^']*'|fail_msg: .*|refused: .*", "", line)
            # A module's option says itself what it is; what sets a variable does not read it.
            if line.strip().startswith("#") or re.fullmatch(r'\s*[\w-]+: "\{\{ \w+ \}\}"', line):
                continue
            bare += [
                f"{path.relative_to(REPO)}:{number}: {match[1]}"
                for match in word.finditer(text)
                if not re.match(r"( \| default\(\w+\))? \| bool\b|=|: |'| (to|is) ", text[match.end() :])
            ]
    assert bare == []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as AWX checks it out."""
    place = tmp_path_factory.mktemp("project") / "ops"
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPO, capture_output=True, text=True, check=True
    )
    for name in files.stdout.splitlines():
        if (REPO / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, place / name)
    return place


def test_a_project_installs_itself(project: Path, tmp_path: Path) -> None:
    """As AWX does it: from the project's folder, into one of its own."""
    done = subprocess.run(
        [
            BIN / "ansible-galaxy",
            "collection",
            "install",
            "-r",
            "collections/requirements.yml",
            "-p",
            tmp_path / "c",
            "--offline",
        ],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": f"{BIN}:/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = tmp_path / "c/ansible_collections/boringdb/ops"
    assert (made / "playbooks/backup.yml").is_file() and (made / "roles/awx/vars/main/job_templates.yml").is_file()


def test_images_are_described() -> None:
    """The image and whoever builds one with this collection in it get what runs on the controller."""
    definition = load(REPO / "execution-environment.yml")
    named = definition["dependencies"]["python"]
    assert definition["version"] == 3
    assert named == load(REPO / "meta/execution-environment.yml")["dependencies"]["python"]
    lines = (REPO / named).read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["cryptography"]
