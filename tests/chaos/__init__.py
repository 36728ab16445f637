# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chaos: who moves a primary, and who is moved, is killed in the middle of it; nothing may be lost or split by that."""

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]
# The embedded estate is shared with tests/integration, whose files import each other by their bare names.
for _place in (_TESTS / "integration", _TESTS / "integration/embedded", _TESTS.parent / ".collections"):
    if str(_place) not in sys.path:
        sys.path.insert(0, str(_place))
