"""Has Ansible count the modules that a run starts."""

from __future__ import annotations

from pathlib import Path


def counting(place: Path) -> dict[str, str]:
    """The environment for a run whose counts go to a file: `{host: {tasks, runs, beside, names}}` as JSON."""
    callbacks = Path(__file__).with_name("callback")
    own = {"ANSIBLE_CALLBACK_PLUGINS": str(callbacks), "ANSIBLE_CALLBACKS_ENABLED": "count_modules"}
    return {**own, "COUNT_MODULES_FILE": str(place)}
