from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
for place in (ROOT / ".collections", ROOT / "tests/unit/evidence", Path(__file__).parent):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
