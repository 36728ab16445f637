# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable from the checkout, for every test; `tests` itself is a package of the root."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

COLLECTIONS = str(Path(__file__).resolve().parents[1] / ".collections")
if COLLECTIONS not in sys.path:
    sys.path.insert(0, COLLECTIONS)

# How long an example takes says how busy the machine is.
settings.register_profile("boringdb", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("boringdb")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say aloud what a machine could not show. Continuous integration must show everything: there a skip fails."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get("CI") == "true":
        terminalreporter.write_line(
            f"{len(skipped)} tests were skipped, which continuous integration may not", red=True
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail continuous integration for a skipped test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
