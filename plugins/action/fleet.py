# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a fleet where Ansible runs: this side can say a line while the work goes on, which a module can't."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible import context as cli
from ansible.parsing.splitter import parse_kv
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight, Refused, as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet import conduct
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_gate import Context
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_options import ARGUMENTS
from ansible_collections.boringdb.ops.plugins.plugin_utils.playbook import handed_on, unpassed


class ActionModule(ActionBase):  # type: ignore[misc]
    """The side of the fleet on the controller; it has no other."""

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run it; the result is the module's."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _valid, params = self.validate_argument_spec(argument_spec=ARGUMENTS)
        variables = task_vars or {}
        try:
            _refuse(variables)
            found = conduct(params, self._context(variables))
        except Refused as error:
            return {**result, "failed": True, "msg": as_line(error), "refused": True}
        except (OpsError, OSError) as error:
            return {**result, "failed": True, "msg": as_line(error)}
        if not found["complete"]:
            found.update(failed=True, msg="\n".join(found["scorecard"]))
        return {**result, **found}

    def _context(self, variables: dict[str, Any]) -> Context:
        hostvars = variables["hostvars"]
        groups = variables["groups"]

        def variable(cluster: str, name: str) -> Any:
            hosts = groups.get(cluster)
            return hostvars[hosts[0]].get(name) if hosts else None

        asked = dict(load_extra_vars(self._loader))
        return Context(
            groups, _children(hostvars), variable, _words(variables), _typed(self._loader), asked, _environment(),
            self._task.check_mode, lambda line: self._display.display(f"fleet: {line}"),
        )


def _refuse(variables: dict[str, Any]) -> None:
    preflight = Preflight()
    for word in unpassed(cli.CLIARGS):
        preflight.refuse(f"{word} asks a person for each cluster", "give the password in a file")
    preflight.require(not variables.get("ansible_limit"), "--limit would cut members away from clusters",
                      "name the clusters with cluster")
    preflight.done()


def _children(hostvars: Any) -> dict[str, list[str]]:
    """The groups directly below each group. Variables do not tell; the inventory behind them does."""
    inventory = getattr(hostvars, "_inventory", None)
    groups = getattr(inventory, "groups", {})
    return {name: [child.name for child in group.child_groups] for name, group in groups.items()}


def _words(variables: dict[str, Any]) -> list[str]:
    """What is handed on to every run. A password that was given to this one lies in a file, which is named again."""
    words = [word for source in variables.get("ansible_inventory_sources") or () for word in ("-i", str(source))]
    words += handed_on(cli.CLIARGS)
    for one in cli.CLIARGS.get("extra_vars") or ():
        words += ["-e", f"@{Path(str(one)[1:]).absolute()}"] if _is_file(one) else []
    return words


def _is_file(given: Any) -> bool:
    return str(given).startswith("@")


def _typed(loader: Any) -> dict[str, Any]:
    """The extra variables that were typed, as Ansible itself reads them; files of them are handed on by their names."""
    typed: dict[str, Any] = {}
    for given in map(str, cli.CLIARGS.get("extra_vars") or ()):
        if not _is_file(given):
            typed.update(loader.load(given) if given[:1] in "{[" else parse_kv(given))
    return typed


def _environment() -> dict[str, str]:
    """This run's own, but for what is about its output: that of the runs goes to their logs."""
    output = ("ANSIBLE_STDOUT_CALLBACK", "ANSIBLE_CALLBACK_PLUGINS", "ANSIBLE_FORCE_COLOR", "ANSIBLE_LOG_PATH")
    own = {name: value for name, value in os.environ.items() if name not in output}
    enabled = [str(one) for one in C.config.get_config_value("CALLBACKS_ENABLED") or []]
    enabled = [one for one in enabled if one != "boringdb.ops.fleet"]
    return {
        **own, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACKS_ENABLED": ",".join([*enabled, "boringdb.ops.fleet"]),
    }
