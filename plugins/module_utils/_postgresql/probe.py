# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The write probe: commits numbered rows against PostgreSQL and keeps what was acknowledged.

A program of its own, run by path with nothing but the standard library and psycopg 3::

    PGHOST=db1 PGUSER=probe python3 probe.py run --directory DIR --duration 60
    python3 probe.py summary --directory DIR
    PGHOST=db2 PGUSER=probe python3 probe.py check --directory DIR --until 2026-01-31T13:05:00+00:00

Each command prints one JSON object. ``run`` ends with SIGTERM or SIGINT. Exit status: 0 good; 1 rows are lost or lie
beyond the cut-off (``check``); 2 it could not be done, with one line on standard error; 3 nothing was proven.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

if not __package__:  # run by path: make the sibling files a package, without putting their names on the search path
    import types

    __package__ = "boringdb_probe"  # pylint: disable=redefined-builtin
    sys.modules[__package__] = types.ModuleType(__package__)
    sys.modules[__package__].__path__ = [str(Path(__file__).resolve().parent)]
    sys.path.pop(0)

from . import probe_control
from .probe_check import check
from .probe_connect import Target, require_psycopg
from .probe_journal import MAX_CLIENTS, Layout
from .probe_summary import summarise
from .probe_time import Clock, ProbeError, parse_time
from .probe_worker import Settings, work

STATUS = {"passed": 0, "failed": 1, "skipped": 3}


def new_run() -> str:
    """A run id that tells when it was made and collides with no other."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


def current_run(layout: Layout, wanted: str | None) -> str:
    """The run that is meant, or a ProbeError when the directory has none."""
    run = layout.run_id(wanted)
    if run is None:
        raise ProbeError(f"no probe has run in {layout.directory}")
    return run


def describe(layout: Layout, wanted: str | None = None) -> dict[str, Any]:
    """The summary of a run, with ``running`` and ``pid``."""
    pid = probe_control.running(layout)
    run = current_run(layout, wanted)
    lives = pid is not None and layout.current().get("run") == run
    now = Clock().now() if lives else None
    return {"running": lives, "pid": pid if lives else None, **summarise(layout, run, now)}


def make_settings(run: str, clients: int, rate: float, target: Target) -> Settings:
    """Checked settings. Raises ProbeError for what cannot be."""
    if not 1 <= clients <= MAX_CLIENTS:
        raise ProbeError(f"clients must be 1 to {MAX_CLIENTS}, not {clients}")
    if not 0 <= rate <= 100_000:
        raise ProbeError(f"rate must be 0 (as many as possible) to 100000 rows per second and client, not {rate:g}")
    if target.timeout < 0.1:
        raise ProbeError(f"timeout must be at least 0.1 s, not {target.timeout:g}")
    return Settings(run=run, clients=clients, rate=rate, target=target)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Commit numbered rows, keep what was acknowledged, look for it later.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--directory", required=True, help="where the run's files are")
    common.add_argument("--run", help="run id (default: the one kept in the directory)")
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument("--host", help="host or socket directory; several with commas (default: PGHOST)")
    server.add_argument("--port", help="port (default: PGPORT)")
    server.add_argument("--user", help="role (default: PGUSER)")
    server.add_argument("--dbname", help="database (default: PGDATABASE)")
    server.add_argument("--settings", help="file with a JSON object of libpq parameters, '-' for standard input")
    server.add_argument("--connect-timeout", type=int, default=2, help="seconds a host (default: 2)")
    server.add_argument("--timeout", type=float, default=3.0, help="seconds a statement may take (default: 3)")
    run = commands.add_parser("run", parents=[common, server], help="write until stopped, then print the summary")
    run.add_argument("--clients", type=int, default=4, help="connections (default: 4)")
    run.add_argument("--rate", type=float, default=50.0, help="rows per second and client, 0 unlimited (default: 50)")
    run.add_argument("--duration", type=float, help="stop after so many seconds")
    run.add_argument("--detach", action="store_true", help="go on in the background once a row was acknowledged")
    run.add_argument("--wait", type=float, default=10.0, help="seconds to wait for that row (default: 10)")
    verify = commands.add_parser("check", parents=[common, server], help="look for every acknowledged row")
    verify.add_argument("--until", help="cut-off: ISO 8601 with a zone, or seconds since 1970")
    commands.add_parser("summary", parents=[common], help="print the figures of a run, also while it runs")
    commands.add_parser("stop", parents=[common], help="stop the background probe and print the summary")
    return parser


def _target(options: argparse.Namespace) -> Target:
    params: dict[str, str] = {}
    if options.settings:
        try:
            text = sys.stdin.read() if options.settings == "-" else Path(options.settings).read_text("utf-8")
            params = {str(name): str(value) for name, value in json.loads(text).items()}
        except (OSError, ValueError, AttributeError) as exc:
            raise ProbeError(f"cannot read connection parameters from {options.settings}: {exc}") from exc
    given = {"host": options.host, "port": options.port, "user": options.user, "dbname": options.dbname}
    params.update({name: value for name, value in given.items() if value})
    return Target(params=params, connect_timeout=options.connect_timeout, timeout=options.timeout)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    layout = Layout(Path(options.directory).absolute())
    target = _target(options)
    run = layout.run_id(options.run) or new_run()
    settings = make_settings(run, options.clients, options.rate, target)
    target.endpoints()
    require_psycopg()
    layout.create()
    asked: list[int] = []

    def locked_work(report: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda got, unused_frame: asked.append(got))
        lock = probe_control.acquire(layout)
        if lock is None:
            pid = probe_control.running(layout)
            if report is None:
                raise ProbeError(f"a probe is running in {layout.directory} already (process id {pid})")
            report({"running": True, "pid": pid, "run": layout.current().get("run")})
            return
        try:
            work(
                settings,
                layout,
                lambda: bool(asked),
                ready=report,
                wait=options.wait,
                duration=options.duration,
            )
        finally:
            os.close(lock)

    if options.detach:
        pid = probe_control.running(layout)
        if pid is not None:
            return {"running": True, "pid": pid, "run": layout.current().get("run")}
        return probe_control.detach(locked_work, layout.log, options.wait + 30)
    locked_work(None)
    return summarise(layout, run)


def _check(options: argparse.Namespace) -> dict[str, Any]:
    layout = Layout(Path(options.directory).absolute())
    until = parse_time(options.until) if options.until else None
    return check(layout, current_run(layout, options.run), _target(options), until)


def _summary(options: argparse.Namespace) -> dict[str, Any]:
    return describe(Layout(Path(options.directory).absolute()), options.run)


def _stop(options: argparse.Namespace) -> dict[str, Any]:
    layout = Layout(Path(options.directory).absolute())
    probe_control.stop(layout)
    return describe(layout, options.run)


def main(arguments: list[str] | None = None) -> int:
    """The program. Returns the exit status."""
    # Where it is a program it prints, which pylint takes for a module's mistake.
    os.environ["LC_ALL"] = "C"  # libpq's messages are recorded and compared in one language
    os.umask(0o077)
    options = _parser().parse_args(arguments)
    commands = {"run": _run, "check": _check, "summary": _summary, "stop": _stop}
    try:
        result = commands[options.command](options)
    except ProbeError as exc:
        print(exc, file=sys.stderr)  # pylint: disable=ansible-bad-function
        return 2
    print(json.dumps(result, indent=2))  # pylint: disable=ansible-bad-function
    return STATUS[result["status"]] if options.command == "check" else 0


if __name__ == "__main__":
    sys.exit(main())  # pylint: disable=ansible-bad-function
