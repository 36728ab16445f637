from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
for place in (ROOT / ".collections", ROOT / "tests/unit/evidence", Path(__file__).parent):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from takers import Hook  # noqa: E402  (needs the path above)
from telling import Estate  # noqa: E402


@pytest.fixture
def estate(tmp_path):
    """A key pair and an empty ledger."""
    return Estate.create(tmp_path)


@pytest.fixture
def hook():
    """A server that takes webhooks."""
    server = Hook()
    yield server
    server.stop()


@pytest.fixture
def channel(hook):
    """The channel to it."""
    return {"name": "desk", "kind": "webhook", "url": f"http://127.0.0.1:{hook.port}/hook"}
