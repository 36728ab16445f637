# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quality gate: every tool once, one line each with its seconds; the whole output of those that fail.

usage: tests/lint/run [--list | TOOL...]      exits 1 when any tool finds anything
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lint.place import REPO, Place
from tests.lint.process import Failed, Skipped, run, stop_all
from tests.lint.sanity import sanity

Check = Callable[[Place], str]
#: A link to the tree itself: by it the modules have the same names as on a host, and mypy sees each file once.
TREE = ".collections/ansible_collections/boringdb/ops"
PLAYBOOKS = sorted(path.stem for path in (REPO / "playbooks").glob("*.yml"))
#: What the playbooks ask for on the command line. The inventory holds no cluster of this name, which is only a warning.
ASKED = ["-e", "cluster=orders"]


def ruff(place: Place) -> str:
    """Style and common mistakes, all Python files."""
    return run([place.program("ruff"), "check", "--output-format", "concise", "."], REPO, place.environment())


def mypy(place: Place) -> str:
    """Types, strictly: what runs on hosts, and the tools that the tests stand on."""
    plugins = [f"{TREE}/plugins/{kind}" for kind in ("action", "module_utils", "modules", "plugin_utils")]
    paths = [*plugins, "tests/lab", "tests/lint", "tools"]
    return run([place.program("mypy"), *paths], REPO, place.environment())


def yamllint(place: Place) -> str:
    """All YAML files."""
    return run([place.program("yamllint"), "--strict", "."], REPO, place.environment())


def ansible_lint(place: Place) -> str:
    """Playbooks, roles and the collection as a whole, in the strictest profile."""
    environment = place.environment(ANSIBLE_COLLECTIONS_PATH=str(REPO / ".collections"))
    return run([place.program("ansible-lint"), "--offline", "--profile", "production", "--strict"], REPO, environment)


def changelog(place: Place) -> str:
    """The changelog's fragments."""
    return run([place.program("antsibull-changelog"), "lint"], REPO, place.environment())


def documentation(place: Place) -> str:
    """The modules' documentation: markup, links, option names."""
    command = [place.program("antsibull-docs"), "lint-collection-docs", ".", "--plugin-docs"]
    return run(command, place.installed, place.environment())


def ansible_doc(place: Place) -> str:
    """`ansible-doc` shows every module and every role's entry points."""
    said = ""
    for kind, names in {
        "module": [path.stem for path in (REPO / "plugins/modules").glob("*.py") if path.stem != "__init__"],
        "role": [path.parent.parent.name for path in (REPO / "roles").glob("*/meta/argument_specs.yml")],
    }.items():
        wanted = [f"boringdb.ops.{name}" for name in sorted(names)]
        environment = place.environment(ANSIBLE_COLLECTIONS_PATH=str(place.work / "collections"))
        answer = run([place.program("ansible-doc"), "--json", "--type", kind, *wanted], place.work, environment)
        # Warnings come before the document, and a plugin that can't be shown is only missing from it.
        shown = json.loads(answer[answer.index("{"):])
        bad = [name for name in wanted if not shown.get(name) or "error" in shown[name]]
        if bad:
            raise Failed(f"{answer}\nnot shown: {', '.join(bad)}")
        said += f"{len(wanted)} {kind}s\n"
    return said


def syntax_check(place: Place, words: list[str], cwd: Path, environment: dict[str, str]) -> str:
    """`ansible-playbook --syntax-check` of the playbooks that are named among `words`."""
    return run([place.program("ansible-playbook"), "--syntax-check", *ASKED, *words], cwd, environment)


def playbooks_by_path(place: Place) -> str:
    """A plain checkout, the playbooks named by their path."""
    return syntax_check(place, [f"playbooks/{name}.yml" for name in PLAYBOOKS], REPO, place.environment())


def playbooks_by_name(place: Place) -> str:
    """A plain checkout, the playbooks named boringdb.ops.NAME."""
    return syntax_check(place, [f"boringdb.ops.{name}" for name in PLAYBOOKS], REPO, place.environment())


def playbooks_installed(place: Place) -> str:
    """The tarball's collection, without the checkout."""
    environment = place.environment(ANSIBLE_COLLECTIONS_PATH=str(place.work / "collections"))
    names = [f"boringdb.ops.{name}" for name in PLAYBOOKS]
    return syntax_check(place, [*names, "-i", str(place.installed / "inventories/local")], place.work, environment)


#: The longest comes first, so that the two workers end at about the same time.
CHECKS: dict[str, Check] = {
    "ansible-test": sanity,
    "ruff": ruff,
    "mypy": mypy,
    "yamllint": yamllint,
    "ansible-lint": ansible_lint,
    "antsibull-changelog": changelog,
    "antsibull-docs": documentation,
    "ansible-doc": ansible_doc,
    "playbooks by path": playbooks_by_path,
    "playbooks by name": playbooks_by_name,
    "playbooks installed": playbooks_installed,
}
_printing = threading.Lock()


def judge(name: str, check: Callable[[], str]) -> bool:
    """Run one check and print its line; whether it passed."""
    began = time.monotonic()
    verdict, output = "ok", ""
    try:
        check()
    except Skipped as why:
        verdict = f"skipped: {why}"
    except Failed as why:
        verdict, output = "FAILED", str(why)
    with _printing:
        print(f"{name:<20} {time.monotonic() - began:5.1f} s  {verdict}", flush=True)
        if output:
            print(output.strip(), flush=True)
    return not output


def main(words: list[str]) -> int:
    """Run the checks that are named, or all; returns the exit code."""
    unknown = [word for word in words if word not in CHECKS]
    if unknown:
        print("\n".join(CHECKS))
        return 0 if unknown == ["--list"] else 2
    chosen = {name: check for name, check in CHECKS.items() if not words or name in words}
    with tempfile.TemporaryDirectory(prefix="boringdb-lint-") as work:
        place = Place(Path(os.environ["CACHE"]).resolve(), Path(work).resolve())
        if not judge("build and install", place.install):
            return 1
        # Two cores; and one of the workers is busy with ansible-test most of the time.
        with ThreadPoolExecutor(max_workers=2) as workers:
            try:
                passed = list(workers.map(lambda item: judge(item[0], lambda: item[1](place)), chosen.items()))
            except BaseException:
                workers.shutdown(wait=False, cancel_futures=True)
                stop_all()
                raise
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
