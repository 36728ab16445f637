"""Writes every task's result to the file named by KEEP_RESULTS, one JSON object a line, for the tests to read."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: keep_results
type: aggregate
short_description: Keep results for tests
description: Keep results for tests.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "keep_results"

    def _keep(self, result, **_ignored):
        with Path(os.environ["KEEP_RESULTS"]).open("a") as stream:
            stream.write(json.dumps({"task": result._task.get_name(), "result": result._result}, default=str) + "\n")

    v2_runner_on_ok = _keep
    v2_runner_on_failed = _keep
