# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's settings for the documentation site; tests/lint/docs puts it beside the pages."""

project = "boringdb.ops"
copyright = "boringdb.ops contributors"
extensions = ["sphinx_antsibull_ext", "myst_parser"]
html_theme = "furo"
html_title = "boringdb.ops"
html_show_sphinx = False
html_copy_source = False
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
#: Headings can be linked to as GitHub shows them, so that docs/*.md work in both places.
myst_heading_anchors = 4
