# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every variable that a role specifies, with a value of another type or none of its choices: one run, a host a case."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.modules import REPO

HERE = Path(__file__).parent
ROLES = sorted(path.name for path in (REPO / "roles").iterdir() if (path / "meta/argument_specs.yml").exists())
WRONG: dict[str, list[Any]] = {
    "int": ["x", "1.5", [1], {"a": 1}],
    "float": ["x", [1]],
    "bool": ["maybe", [True]],
    "dict": ["text", [1], 7],
    "list": [{"a": 1}],
}


def cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A role, the variable that is wrong, and all its variables."""
    for role in ROLES:
        spec = yaml.safe_load((REPO / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]
        options = spec.get("main", {}).get("options") or {}
        defaults = yaml.safe_load((REPO / "roles" / role / "defaults/main.yml").read_text()) or {}
        needed = {name: "x" for name, option in options.items() if option.get("required")}
        right = {"db_data_dir": "/nowhere", "db_version": 16, "cluster": "nobodys"}
        right = {name: right.get(name, value) for name, value in needed.items()}
        for name, option in options.items():
            values = list(WRONG.get(option.get("type", "str"), []))
            if option.get("type") == "dict" and option.get("options"):
                values = []  # what is no dictionary at all, Ansible itself stumbles over
            if option.get("choices"):
                values += ["nonsense", ["a"]]
            if option.get("elements") == "dict":
                values += [["text"], [[1]]]
            if option.get("required") and name not in defaults:
                yield role, name, {key: value for key, value in right.items() if key != name}
            for value in values:
                yield role, name, {**right, name: value}


def test_wrong_variables_are_refused(tmp_path: Path) -> None:
    every = {f"h{number}": case for number, case in enumerate(cases())}
    assert len(every) > 80
    hosts = {
        host: {**variables, "tried_role": role, "ansible_connection": "local"}
        for host, (role, _name, variables) in every.items()
    }
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    env = {**os.environ, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), HERE / "wrong_variables.yml"]
    done = subprocess.run(argv, cwd=REPO, env=env, text=True, capture_output=True, timeout=300, check=False)
    said: dict[str, str] = {}
    for found in re.finditer(r"^fatal: \[(\w+)\].*?=> *\n((?:    .*\n|\n)+)", done.stdout, re.MULTILINE):
        assert found.group(1) not in said, f"{found.group(1)} failed twice"
        said[found.group(1)] = " ".join(found.group(2).split())
    wrong = []
    for host, (role, name, variables) in every.items():
        message = said.get(host, "was taken, or nothing was said")
        if name not in message or "Traceback" in message:
            wrong.append(f"{role}: {name}={variables.get(name)!r}: {message[:300]}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(every)}", *wrong[:40]])
    assert "was taken" not in done.stdout.replace("Say that it was taken", "")
    assert "changed: [" not in done.stdout
