# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The write probe as an Ansible module drives it: one function a state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import probe as program
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import probe_control as control
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_check import check
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_connect import Target, drop, schema_exists
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_journal import Layout
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_time import ProbeError, parse_time

#: Parameters of libpq that are secrets. They would be shown as part of the module's arguments.
SECRETS = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")


def probe(params: Params, check_mode: bool) -> Outcome:
    """The cell. Raises OpsError."""
    try:
        return STATES[params["state"]](params, check_mode)
    except ProbeError as exc:
        raise OpsError(str(exc)) from exc


def _layout(params: Params) -> Layout:
    return Layout(Path(params["directory"]).absolute())


def _target(params: Params) -> Target:
    extra = {str(name): str(value) for name, value in (params["conninfo"] or {}).items()}
    secret = sorted(set(extra) & set(SECRETS))
    if secret:
        raise ProbeError(f"conninfo must not hold {', '.join(secret)}: use login_password, or a passfile on the host")
    given = {
        "host": params["login_unix_socket"] or params["login_host"],
        "port": params["login_port"],
        "user": params["login_user"],
        "password": params["login_password"],
        "dbname": params["login_db"],
    }
    extra.update({name: str(value) for name, value in given.items() if value is not None})
    return Target(params=extra, connect_timeout=params["connect_timeout"], timeout=params["timeout"])


def _started(params: Params, check_mode: bool) -> Outcome:
    layout, target = _layout(params), _target(params)
    current, pid = layout.current(), control.running(layout)
    wanted = layout.run_id(params["run"])
    if pid is not None:
        return _running_already(params, target, current, pid)
    run = wanted or program.new_run()
    settings = program.make_settings(run, params["clients"], params["rate"], target)
    facts: dict[str, Any] = {"run": run, "directory": str(layout.directory), "running": True, "pid": None}
    if not check_mode:
        path = control.install(layout, program)
        arguments = [
            "--run", run, "--clients", str(settings.clients), "--rate", f"{settings.rate:g}",
            "--connect-timeout", str(target.connect_timeout), "--timeout", f"{target.timeout:g}",
        ]  # fmt: skip
        answer = control.launch(path, layout, arguments, target.params, params["wait"])
        if answer.get("running"):  # somebody else started it between our look and our start
            return _running_already(params, target, layout.current(), answer["pid"])
        facts["pid"] = answer["pid"]
    return Outcome(changed=True, facts=facts, before="not running\n", after=f"running, run {run}\n")


def _running_already(params: Params, target: Target, current: dict[str, Any], pid: int) -> Outcome:
    """A second start changes nothing, but it does not pass off another run or server as the wanted one."""
    directory = str(_layout(params).directory)
    if params["run"] and params["run"] != current.get("run"):
        raise ProbeError(
            f"the run {current.get('run')} is being probed in {directory}: stop it, or use another directory"
        )
    if current.get("target") not in (None, target.describe()):
        raise ProbeError(
            f"the probe in {directory} writes to {current['target']}, not to {target.describe()}:"
            " stop it, or use another directory"
        )
    facts = {"run": current.get("run"), "directory": directory, "running": True, "pid": pid}
    outcome = Outcome(facts=facts)
    if (current.get("clients"), current.get("rate")) != (params["clients"], params["rate"]):
        outcome.warnings.append(
            f"the running probe keeps its {current.get('clients')} clients at {current.get('rate'):g} rows/s each:"
            " stop it to change that"
        )
    return outcome


def _summary(layout: Layout, wanted: str | None) -> dict[str, Any]:
    """The summary, or just ``running: false`` where nothing has run yet."""
    if layout.run_id(wanted) is None:
        return {"running": False, "pid": None, "run": None, "directory": str(layout.directory)}
    return {**program.describe(layout, wanted), "directory": str(layout.directory)}


def _stopped(params: Params, check_mode: bool) -> Outcome:
    layout = _layout(params)
    pid = control.running(layout)
    run = layout.current().get("run")
    if pid is None:
        return Outcome(facts=_summary(layout, params["run"]))
    if params["run"] and params["run"] != run:
        raise ProbeError(
            f"the run {run} is being probed in {layout.directory}, not {params['run']}: it was not stopped"
        )
    if not check_mode:
        control.stop(layout)
    facts = _summary(layout, params["run"])
    return Outcome(changed=True, facts=facts, before=f"running, run {run}\n", after="not running\n")


def _measured(params: Params, unused_check_mode: bool) -> Outcome:
    return Outcome(facts=_summary(_layout(params), params["run"]))


def _checked(params: Params, check_mode: bool) -> Outcome:
    layout = _layout(params)
    until = parse_time(params["until"]) if params["until"] else None
    if check_mode and layout.run_id(params["run"]) is None:
        # The run that would be looked for has only been pretended.
        return Outcome(facts={"status": "skipped", "run": None}, warnings=["no probe has run yet: nothing was checked"])
    run = program.current_run(layout, params["run"])
    return Outcome(facts=check(layout, run, _target(params), until))


def _absent(params: Params, check_mode: bool) -> Outcome:
    layout, target = _layout(params), _target(params)
    pid, files = control.running(layout), control.leftovers(layout)
    before = ["worker"] * (pid is not None) + ["files"] * files
    warnings = []
    if check_mode:
        try:
            before += ["schema"] * schema_exists(target)
        except ProbeError as exc:
            warnings.append(f"the schema was not looked for: {exc}")
    else:
        control.stop(layout)
        # The schema first: should the server be away, the files, which are the evidence, stay.
        before += ["schema"] * drop(target)
        control.remove(layout)
    text = "".join(f"{name}\n" for name in before)
    return Outcome(changed=bool(before), before=text, facts={"directory": str(layout.directory)}, warnings=warnings)


STATES = {"started": _started, "stopped": _stopped, "absent": _absent, "checked": _checked, "measured": _measured}
