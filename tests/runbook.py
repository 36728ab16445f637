# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page `runbook`, as the tests read it: its commands, and where each is to be run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[1] / "docs/runbook.md").read_text()
_RUN = re.compile(r"^<!-- run: (\w+)(?: sets: (\w+))? -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DEFINE = re.compile(r"^<!-- define: (\w+) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Types the commands on the host of a name; returns what they print. Raises where one of them fails.
Terminal = Callable[[str, str, dict[str, str]], str]


def sections() -> dict[str, list[tuple[str, str, str]]]:
    """The commands of each part of the page: on which host, what they set, and what they are."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:]
    return {name: _RUN.findall(text) for name, text in zip(parts[::2], parts[1::2])}


def definitions() -> dict[str, str]:
    """How a server is stopped and started, by what runs it."""
    return dict(_DEFINE.findall(PAGE))


def follow(part: str, terminal: Terminal, *, leave_out: str = "") -> None:
    """Do what a part of the page says, but for the blocks of one host."""
    steps = [step for step in sections()[part] if step[0] != leave_out]
    assert steps, part
    known: dict[str, str] = {}
    for host, sets, commands in steps:
        said = terminal(host, commands, known)
        if sets:
            known[sets] = said.splitlines()[-1]
