from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
for place in (ROOT / ".collections", Path(__file__).parent):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from samples import Ground  # noqa: E402  (needs the path above)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A key pair and an empty ledger."""
    return Ground.create(tmp_path)
