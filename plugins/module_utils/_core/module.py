# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module of the collection does around its cell: options in, one outcome or one clear error out.

A cell is a function `(params, check_mode) -> Outcome`. A module names its cells in one table, keyed by engine or
by manager, with static imports: AnsiballZ ships only what is imported by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Refused, as_line


@dataclass
class Outcome:
    """What a cell did.

    `facts` are the module's return values; `before` and `after` are rendered as the diff when they differ.
    Where several things changed, `diffs` has each with its own headers, in Ansible's words: before, after,
    before_header, after_header.
    """

    changed: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    before: str = ""
    after: str = ""
    diffs: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


Params = Mapping[str, Any]
Cell = Callable[[Params, bool], Outcome]
Cells = Mapping[str, Cell]


def resolve(word: str, cells: Cells, engine: str, manager: str | None = None) -> Cell:
    """The cell that does `word`: the manager's where it has one, else the engine's.

    Raises OpsError where neither column has the word.
    """
    for column in (manager, engine):
        if column and column in cells:
            return cells[column]
    under = f" under {manager}" if manager else ""
    raise OpsError(f"{word}: not available for {engine}{under}; available for {', '.join(sorted(cells))}")


def run(
    word: str, cells: Cells, argument_spec: Mapping[str, Any],
    manager_of: Callable[[Params], str | None] | None = None, **module_options: Any,
) -> None:  # fmt: skip
    """Run `word` as an Ansible module and exit. `manager_of` finds out who runs the server that the options name."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True, **module_options)
    try:
        manager = manager_of(module.params) if manager_of else None
        cell = resolve(word, cells, module.params["engine"], manager)
        outcome = cell(module.params, module.check_mode)
    except Refused as exc:
        reasons = [{"what": reason.what, "remedy": reason.remedy} for reason in exc.reasons]
        module.fail_json(msg=as_line(exc), reasons=reasons, refused=True, **exc.facts)
    except OpsError as exc:
        module.fail_json(msg=as_line(exc), **exc.facts)
    except OSError as exc:
        # A full disk, a missing permission, an unreadable path: a user can cause and mend it.
        where = f": {exc.filename}" if exc.filename else ""
        module.fail_json(msg=as_line(f"{word}: {exc.strerror or exc}{where}"))
    for warning in outcome.warnings:
        module.warn(warning)
    result: dict[str, Any] = {"changed": outcome.changed, **outcome.facts}
    if outcome.diffs:
        result["diff"] = outcome.diffs
    elif outcome.before != outcome.after:
        result["diff"] = {"before": outcome.before, "after": outcome.after}
    module.exit_json(**result)
