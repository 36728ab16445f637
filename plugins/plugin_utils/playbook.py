# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook of the collection run by another one, as whoever runs that would: same inventory, same options."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.process import die_with_parent

#: Options of ansible-playbook by the names that Ansible keeps them under.
_ONE = {
    "private_key_file": "--private-key", "remote_user": "--user", "connection": "--connection", "timeout": "--timeout",
    "ssh_common_args": "--ssh-common-args", "sftp_extra_args": "--sftp-extra-args",
    "scp_extra_args": "--scp-extra-args", "ssh_extra_args": "--ssh-extra-args", "forks": "--forks",
    "subset": "--limit", "become_method": "--become-method",
    "become_user": "--become-user", "connection_password_file": "--connection-password-file",
    "become_password_file": "--become-password-file",
}  # fmt: skip
_MANY = {"vault_ids": "--vault-id", "vault_password_files": "--vault-password-file"}
_ASKED = {"ask_pass": "--ask-pass", "become_ask_pass": "--ask-become-pass", "ask_vault_pass": "--ask-vault-pass"}
_PLAY = re.compile(r"^PLAY \[(.*)\] \*")
_FAILED = re.compile(r"^(?:fatal|failed): \[(\S+?)(?: -> \S+)?\].*?=> ?(\{.*)$")
_ERROR = re.compile(r"^\[?ERROR\]?!?:? (.*)$")


def unpassed(options: Mapping[str, Any]) -> list[str]:
    """The options that were answered at a prompt: what was typed there is not known here."""
    found = [option for name, option in _ASKED.items() if options.get(name)]
    return found + [f"--vault-id {one}" for one in options.get("vault_ids") or () if str(one).endswith("@prompt")]


def handed_on(options: Mapping[str, Any]) -> list[str]:
    """What a further run gets as this one was given it: accounts, vaults, and the like; files' names, no secrets."""
    words: list[str] = []
    for name, option in _MANY.items():
        words += [word for value in options.get(name) or () for word in (option, str(value))]
    for name, option in _ONE.items():
        if options.get(name) not in (None, ""):
            words += [option, str(options[name])]
    if options.get("module_path"):
        words += ["--module-path", ":".join(options["module_path"])]
    return words + [f"--{name}" for name in ("become", "diff") if options.get(name)]


def elsewhere(options: Mapping[str, Any], inventory: Path) -> dict[str, Any]:
    """The options for another inventory, which brings all of its variables: none of the running one's mean it."""
    return {**options, "inventory": [str(inventory)], "extra_vars": (), "subset": None}


def command(options: Mapping[str, Any], playbook: Path, variables: Mapping[str, Any], dry: bool) -> list[str]:
    """The argument list that runs a playbook with the options of the running one."""
    argv = [sys.executable, "-m", "ansible", "playbook", *handed_on(options), *(["--check"] if dry else [])]
    for name, option in (("inventory", "--inventory"), ("extra_vars", "--extra-vars")):
        argv += [word for value in options.get(name) or () for word in (option, str(value))]
    # The last one wins.
    return [*argv, "--extra-vars", json.dumps(dict(variables)), str(playbook)]


def environment() -> dict[str, str]:
    """This process's, with an output that can be read: a job of AWX has one of its own that must not hear of this."""
    return {
        **os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_CALLBACK_FORMAT_PRETTY": "false", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
    }  # fmt: skip


def play(argv: list[str], seconds: float, tell: Callable[[str], None]) -> str:
    """Run it to its end, telling each play; returns why it failed, empty where it did not."""
    lines: list[str] = []
    late = threading.Event()
    with subprocess.Popen(
        argv, env=environment(), text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, preexec_fn=die_with_parent,  # noqa: PLW1509 - no thread holds a lock at this point
    ) as running:  # fmt: skip

        def end() -> None:
            late.set()
            running.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        for line in running.stdout or ():
            lines.append(line.rstrip())
            found = _PLAY.match(line)
            if found:
                tell(found.group(1))
        code = running.wait()
        timer.cancel()
    if late.is_set():
        return f"it was ended after {seconds:g} s; run the same command again"
    return "" if code == 0 else why(lines, code)


def why(lines: list[str], code: int) -> str:
    """The last error of a run, in one line: those before it may have been mended."""
    found = ""
    for line in lines:
        failed, error = _FAILED.match(line), _ERROR.match(line)
        if failed:
            try:
                said = json.loads(failed.group(2)).get("msg") or "no message"
            except (ValueError, AttributeError):
                said = failed.group(2)
            found = f"{failed.group(1)}: {said}"
        elif error and not found:
            found = error.group(1)
    return " ".join(str(found or f"it exited {code}").split())[:1500]
