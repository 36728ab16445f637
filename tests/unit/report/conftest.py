from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
for place in (ROOT / ".collections", ROOT / "tests/unit/evidence", Path(__file__).parent):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from ansible_collections.boringdb.ops.plugins.module_utils._core import keys, matrix, report  # noqa: E402
from make_estate import NOW, fill  # noqa: E402  (needs the path above)
from samples import Ground  # noqa: E402


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A key pair and an empty ledger."""
    return Ground.create(tmp_path)


@pytest.fixture(scope="session")
def estate(tmp_path_factory: pytest.TempPathFactory) -> report.Estate:
    """Clusters in every state, as seen at NOW."""
    ground = Ground.create(tmp_path_factory.mktemp("estate"))
    fill(ground)
    found = report.read_estate(
        ground.ledger, keys.load_trusted([ground.public]), title="Restore evidence", now=NOW, overdue_days=7,
        expected=["payments", "orders"],
    )
    found.matrix = matrix.build(found.clusters, matrix.period(None, None, NOW), report.Approval(("restore_drill",)))
    return found
