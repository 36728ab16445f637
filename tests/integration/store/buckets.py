# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The buckets of the store, and who asks for them."""

from __future__ import annotations

import os
import pwd

#: It is run on the controller, by whoever runs Ansible.
SELF = pwd.getpwuid(os.geteuid()).pw_name
LOCKED = {"compliance": ("COMPLIANCE", 35), "governance": ("GOVERNANCE", 35), "years": ("COMPLIANCE", 365)}
