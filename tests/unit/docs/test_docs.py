# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages say what the tree has: words, links, variables, headers of playbooks, the demo's output, the sample."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
PLAYBOOKS = sorted((REPO / "playbooks").glob("*.yml"))
ROLES = sorted(path.name for path in (REPO / "roles").iterdir() if path.is_dir())
MODULES = sorted(path.stem for path in (REPO / "plugins/modules").glob("*.py") if path.stem != "__init__")
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]
EXAMPLE = REPO / "inventories/example"
#: Words whose page is another word's.
SHARED_PAGE = {
    "backup_info": "backup", "backup_manifest": "verify", "etcd": "patroni", "evidence_key": "evidence",
    "follow_up": "evidence", "instance_info": "instance", "object_lock": "pgbackrest", "pool_balancer": "pool",
    "pool_info": "pool", "pool_server": "pool", "postgresql": "provision", "restore_in_place": "restore",
    "rotate_password": "access", "verify_evidence": "evidence", "witness_evidence": "evidence",
}  # fmt: skip
#: The parts of a page of an operation, in their order.
PARTS = [
    "What it changes", "What it restarts", "Duration", "Point of no return", "Roll back", "Options that matter",
    "Examples", "When it refuses", "How it is tested",
]  # fmt: skip
OPERATIONS = [
    "access", "awx", "backup", "config", "config_drift", "decommission", "dump", "extract", "failover",
    "failover_drill", "fleet", "instance",
    "notification", "patroni", "pool", "provision", "rejoin", "replica", "restart", "restore", "restore_drill",
    "schedule", "switchover", "tablespace", "tls",
]  # fmt: skip
#: What a playbook's header says. The last two may stand in one line.
HEADER = {
    "Changes": r"^# Changes:", "Restarts": r"^# Restarts:", "Duration": r"^# (Expected d|D)uration:",
    "Roll back": r"^# Roll back:", "Point of no return": r"^# No return:|[Nn]o point of no return",
}  # fmt: skip
#: Names that begin like a role's variable and are none: words, checks, options of modules, what roles hand over.
NO_VARIABLES = {
    *SHARED_PAGE, "config_drift_result", "restart_required",
    "backup_bytes", "backup_complete", "backup_dir", "backup_label", "backup_path", "backup_repository",
    "backup_result",
    "backup_outcome", "etcd_hosts", "patroni_candidate", "patroni_leader", "patroni_nofailover", "patroni_scheduled",
    "patroni_scope", "patroni_synchronous", "dump_seconds", "pool_admin", "pool_auth", "pool_check",
    "switchover_stall", "evidence_heads", "evidence_outcome", "evidence_result", "report_result", "awx_job",
    "awx_user_name", "awx_job_id", "notification_result", "fleet_outcome", "fleet_drills", "restore_command",
}  # fmt: skip
FORBIDDEN = {
    "a machine's path": r"(?<![\w.])/(work|root|tmp/bash|process_api)\b",
    "an issue's number": r"(?<![\w&/-])#\d+\b",
    "an unfinished place": r"\b(TODO|FIXME|XXX|TBD)\b|\b[A-Z]{4,}_(TIME|TIMES|OUTPUT|FULL|FIRST|SECOND|SECONDS|COPY)\b",
    "the lab's address": r"\b10\.213\.77\.",
    "a marketing word": r"(?i)\b(blazing|seamless|effortless|world-class|cutting-edge|best-in-class|enterprise-grade)",
}  # fmt: skip


def ids(path: Path) -> str:
    """A page's name in the test's."""
    return str(path.relative_to(REPO))


def anchors(page: Path) -> set[str]:
    """A page's headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def specified() -> frozenset[str]:
    """Every variable that any role's argument specs name."""
    names: set[str] = set()
    for role in ROLES:
        specs = yaml.safe_load((REPO / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]
        for entry in specs.values():
            names.update(entry.get("options") or {})
    return frozenset(names)


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=ids)
def test_playbook_says_what_it_does(playbook: Path) -> None:
    """Each header tells what it changes and restarts, how long it takes, and how to go back."""
    header = "\n".join(line for line in playbook.read_text().splitlines() if line.startswith("#"))
    missing = [name for name, pattern in HEADER.items() if not re.search(pattern, header, re.MULTILINE)]
    assert not missing


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=ids)
def test_a_lost_host_ends_a_playbook_that_any_error_ends(playbook: Path) -> None:
    """Ansible counts an unreachable host twice under any_errors_fatal, and goes on with the plays of other hosts."""
    plays = yaml.safe_load(playbook.read_text())
    fatal = [play for play in plays if play.get("any_errors_fatal")]
    assert not [play["name"] for play in fatal if play.get("max_fail_percentage") != 0]


def test_no_list_goes_through_a_set() -> None:
    """Ansible's set filters give their items in another order in every process; what is written of them would flap."""
    sources = [path for folder in ("roles", "playbooks") for path in (REPO / folder).rglob("*.yml")]
    flapping = re.compile(r"\|\s*(difference|intersect|union|symmetric_difference)\b")
    assert [str(path.relative_to(REPO)) for path in sources if flapping.search(path.read_text())] == []


@pytest.mark.parametrize("word", sorted({*(path.stem for path in PLAYBOOKS), *ROLES, *MODULES}))
def test_word_has_a_page(word: str) -> None:
    """Every playbook, role and module has a page, which the index names."""
    page = SHARED_PAGE.get(word, word)
    assert (REPO / "docs" / f"{page}.md").is_file()
    assert f"({page}.md)" in (REPO / "docs/index.md").read_text()
    assert re.search(rf"\b{word}\b", (REPO / "docs" / f"{page}.md").read_text())


@pytest.mark.parametrize("word", OPERATIONS)
def test_page_has_its_parts_in_order(word: str) -> None:
    """Who knows one page knows where to look in the others."""
    headings = re.findall(r"^## (.+)$", (REPO / "docs" / f"{word}.md").read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading in PARTS] == PARTS


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file, and a heading in it."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", link):
            continue
        name, heading = link.partition("#")[::2]
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (heading and heading not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", [path for path in PAGES if path.parent.name == "docs"], ids=ids)
def test_pages_link_among_themselves(page: Path) -> None:
    """The built site holds the pages alone: a link to another file of the repository would lead nowhere there."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    assert not [link for link in links if not re.match(r"https?://|#|\w+\.md(#|$)", link)]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_paths_are_there(page: Path) -> None:
    """What is named as a file or folder of the repository is one."""
    folders = "docs|extensions|inventories|playbooks|plugins|roles|tests|tools"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text())
    assert not [name for name in named if not (REPO / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_make_targets_are_there(page: Path) -> None:
    """`make X` is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", page.read_text())) <= targets


@pytest.mark.parametrize("page", [*PAGES, *sorted(EXAMPLE.rglob("*.yml"))], ids=ids)
def test_variables_are_specified(page: Path) -> None:
    """Every role's variable that is named is in its argument specs."""
    prefixes = "|".join(["postgresql", *ROLES])
    text = re.sub(r"boringdb\.ops\.\w+|[\w./-]*/[\w./-]+|\w+\.(yml|md)", "", page.read_text())
    faults = set(re.findall(r"^\| `?(\w+)`? \|", text, re.MULTILINE)) if page.name == "faults.md" else set()
    named = set(re.findall(rf"\b(?:{prefixes})_[a-z][a-z_]*\b", text)) - {*MODULES, *ROLES, *NO_VARIABLES, *faults}
    assert not sorted(name for name in named if name not in specified() and not name.endswith("_"))


def test_shared_variables_are_the_documented_ones() -> None:
    """One table, fifteen at most, and nothing beside it is read by a playbook or a role."""
    text = (REPO / "docs/inventory.md").read_text()
    table = re.findall(r"^\| `(db_\w+)` \|", text, re.MULTILINE)
    assert len(table) == len(set(table)) <= 15
    used: set[str] = set()
    for place in ("playbooks", "roles"):
        for path in (REPO / place).rglob("*.yml"):
            used.update(re.findall(r"(?<!\w)db_[a-z_]+\b", path.read_text()))
    assert used - {"db_instance"} == set(table)
    assert "`db_instance`" in text


def demo_formats() -> list[str]:
    """The demo's last line as a pattern: what is put into it stands for one word."""
    tree = ast.parse((REPO / "tests/demo/demo.py").read_text())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [re.escape(part.value) if isinstance(part, ast.Constant) else r"\S+" for part in node.values]
            found.append("".join(parts))
    return [pattern for pattern in found if pattern.startswith("demo:") and "rto=" in pattern]


def test_readme_shows_what_the_demo_prints() -> None:
    """The pasted output has the demo's last line and the plays of its playbook, in their order."""
    lines = [line.strip() for line in (REPO / "README.md").read_text().splitlines()]
    [pattern] = demo_formats()
    [last] = [number for number, line in enumerate(lines) if re.fullmatch(pattern, line)]
    first = lines.index("$ make demo")
    shown = [re.sub(r" +[\d.]+ s( +all [\d.]+ s)?$", "", line) for line in lines[first + 2:last]]
    plays: list[str] = []
    for part in yaml.safe_load((REPO / "tests/demo/demo.yml").read_text()):
        book = REPO / "tests/demo" / part["ansible.builtin.import_playbook"]
        plays += [play["name"] for play in yaml.safe_load(book.read_text())]
    assert shown == plays


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted(EXAMPLE.rglob("*.yml")), *sorted(REPO.glob("roles/*/README.md"))], ids=ids
)
def test_pages_speak_of_the_project_alone(page: Path) -> None:
    """No path of a machine, no issue, no unfinished place, no marketing."""
    text = page.read_text()
    found = {what: match.group() for what, pattern in FORBIDDEN.items() if (match := re.search(pattern, text))}
    assert not found


def test_picture_is_small() -> None:
    """A picture that somebody looks at, below 300 kB."""
    picture = REPO / "docs/images/report.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 300_000


def ansible(program: str, *words: str, home: Path) -> str:
    """What a program of Ansible's printed to standard output, without the user's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env = {**kept, "HOME": str(home), "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [BIN / program, "-i", EXAMPLE, *words], cwd=REPO, env=env, text=True, capture_output=True, timeout=120,
        check=False, stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_example_inventory_passes_a_syntax_check(tmp_path: Path) -> None:
    """All playbooks take the sample as it is."""
    ansible("ansible-playbook", "--syntax-check", "-e", "cluster=orders", *map(str, PLAYBOOKS), home=tmp_path)


def test_example_inventory_is_what_the_page_says(tmp_path: Path) -> None:
    """Its groups are those the playbooks look for, its hosts nobody's, its shared variables documented ones."""
    listed: dict[str, Any] = json.loads(ansible("ansible-inventory", "--list", home=tmp_path))
    assert {"orders", "repository_hosts", "drill_hosts"} <= set(listed)
    hosts = listed["_meta"]["hostvars"]
    assert all(name.endswith(".example.com") for name in hosts)
    text = (REPO / "docs/inventory.md").read_text()
    member = hosts[listed["orders"]["hosts"][0]]
    assert member["db_data_dir"] and member["db_version"]
    assert not [name for name in member if name.startswith("db_") and f"`{name}`" not in text]
    repositories = listed["repository_hosts"]["hosts"]
    assert hosts[repositories[0]]["backup_repository_host"] in repositories
