from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import (
    keys,
    ledger,
    page,
    page_charts,
    page_estate,
    report,
    report_text,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.page_style import CSS
from make_estate import NOW
from markdown_it import MarkdownIt
from samples import Ground, record, stamp

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> | **b** [a](http://evil.example) `c`"
VOID = {"meta", "link", "br", "img", "input", "path", "circle"}
CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Reader(HTMLParser):
    """Collects elements and text; complains about tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def hostile(ground):
    """An estate whose records bring markup wherever text is free."""
    check = {"name": f"x{EVIL}", "required": True, "status": "failed", "expected": EVIL, "actual": EVIL}
    check["message"] = EVIL
    ledger.append(ground.ledger, record(
        engine=EVIL, versions={"engine": EVIL, "tools": {EVIL: EVIL}}, operator={"user": EVIL, "awx_job": EVIL},
        measurements={"rto_seconds": 5, "backup_label": EVIL, "target": EVIL, "target_type": EVIL, "reached_lsn": EVIL},
        checks=[check], error=EVIL, controls=[EVIL], approval=EVIL, corrective_action=EVIL,
        subjects=[{"name": EVIL, "digest": {"sha256": "0" * 64}}],
    ), ground.key)
    return report.read_estate(ground.ledger, keys.load_trusted([ground.public]), title=EVIL, now=NOW, overdue_days=7)


def test_the_page_is_whole_and_fetches_nothing(estate):
    text = page.render(estate, 20)
    reader = Reader(text)
    for _tag, attributes in reader.elements:
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,")), attributes
    assert "url(" not in text and "@import" not in text and "http" not in re.sub("http-equiv", "", text)
    assert "default-src 'none'" in html.unescape(text)


def test_links_lead_somewhere(estate):
    elements = Reader(page.render(estate, 20)).elements
    ids = [attributes["id"] for _tag, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for tag, attributes in elements if tag == "a"}
    assert links and links <= set(ids)


def test_hostile_text_stays_text(ground):
    text = page.render(hostile(ground), 20)
    reader = Reader(text)
    assert [tag for tag, _attributes in reader.elements if tag in ("img", "b", "script")].count("script") == 1
    assert not [tag for tag, _attributes in reader.elements if tag == "img"]
    assert not [name for _tag, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert reader.text.count(EVIL) >= 12


def test_what_is_wrong_comes_first(estate):
    text = Reader(page.render(estate, 20)).text
    places = [text.index(part) for part in (
        "6 of 8 clusters need attention", "the signature does not fit", "relations_exact failed, expected 187, found",
        "refused the connection", "no verified restore drill on record", "last verified drill 11 days ago",
        "RTO 19 min 40 s, objective 15 min", "Last drill",
    )]
    assert places == sorted(places)


def test_details_show_everything(estate):
    text = Reader(page.render(estate, 20)).text
    orders = next(cluster for cluster in estate.clusters if cluster.name == "orders")
    for part in (orders.chain.head, orders.last.record.name, "20261120-210000F full",
                 "48.3 GB", "18 204 551", "3B/0C51D7A0, timeline 4", "the extension amcheck is not installed",
                 "SOC2-A1.2", "dba, AWX job 4711", "postgresql 17.5, pgbackrest 2.55", "Phases", "Timeline",
                 "switchover"):
        assert part in text, part


def test_only_the_newest_are_shown_in_detail(estate):
    text = page.render(estate, 3)
    assert "the newest 3 of 25" in text
    assert text.count("<details") < page.render(estate, 20).count("<details")


def test_an_estate_without_trouble_says_so(estate):
    good = [cluster for cluster in estate.clusters if cluster.state == "verified"]
    calm = report.Estate("t", NOW, 7, estate.keyids, good)
    text = Reader(page.render(calm, 20)).text
    assert "All 2 clusters are proven" in text and "attention" not in text.split("All 2")[1][:200]
    assert "No records" in page.render(report.Estate("t", NOW, 7, [], []), 20)
    alone = Reader(page.render(report.Estate("t", NOW, 7, estate.keyids, good[:1]), 20)).text
    assert "The cluster is provenIt was restored and verified" in alone


def test_checks_are_counted_by_how_they_ended(ground):
    def check(name, status, required):
        return {"name": name, "status": status, "required": required, "message": "m"}

    ledger.append(ground.ledger, record(
        checks=[check("a", "passed", True), check("b", "passed", False), check("c", "skipped", False)]), ground.key)
    ledger.append(ground.ledger, record("one", checks=[
        check("a", "passed", True), check("b", "failed", True),
        check("c", "skipped", True), check("d", "skipped", False),
    ]), ground.key)
    found = report.read_estate(ground.ledger, keys.load_trusted([ground.public]), title="t", now=NOW, overdue_days=7)
    text = Reader(page.render(found, 20)).text
    assert "2 passed, 1 skipped (optional)" in text
    assert "1 passed, 1 failed, 2 skipped" in text


@pytest.mark.parametrize("largest", [0.0, 0.02, 0.9, 41, 187.4, 900, 1180, 7000, 90_000, 4_000_000])
def test_an_axis_holds_its_values(largest):
    top, ticks = page_charts.scale(largest)
    assert top >= largest and ticks[0] == 0 and ticks[-1] == pytest.approx(top)
    assert 2 <= len(ticks) <= page_charts.MAX_TICKS + 1


def test_charts_leave_out_what_nobody_vouches_for(estate):
    billing = next(cluster for cluster in estate.clusters if cluster.name == "billing")
    assert len(billing.drills) == 8
    assert len(page_estate.points(billing, "rto_seconds")) == 7


def test_sparse_records_are_no_trouble(ground):
    ledger.append(ground.ledger, record(measurements={}, objectives={}, checks=[], error="x"), ground.key)
    ledger.append(ground.ledger, record("one", measurements={"rto_seconds": 0, "target_type": "latest"}), ground.key)
    found = report.read_estate(ground.ledger, keys.load_trusted([ground.public]), title="t", now=NOW, overdue_days=7)
    for form in (page.render, report_text.markdown, report_text.as_json):
        assert "orders" in form(found, 20)
    Reader(page.render(found, 20))


def luminance(color):
    digits = color[1:] if len(color) == 7 else "".join(c * 2 for c in color[1:])
    parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, two):
    high, low = sorted((luminance(one), luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme):
    colors = dict(re.findall(r"--(\w+):(#[0-9a-f]+)", re.findall(r":root\{(.*?)\}", CSS, re.DOTALL)[scheme]))
    inks = ("ink", "ink2", "link", "good", "bad", "warn")
    pairs = [(ink, ground) for ink in inks for ground in ("surface", "sunk", "bg")]
    pairs += [(tone, f"{tone}bg") for tone in ("good", "bad", "warn")]
    for ink, ground in pairs:
        assert contrast(colors[ink], colors[ground]) >= 4.5, (ink, ground)
    for mark in ("series", "aim", "p1", "p2", "p3", "p4"):
        assert contrast(colors[mark], colors["surface"]) >= 3, mark


def test_markdown_keeps_hostile_text_as_text(ground):
    text = report_text.markdown(hostile(ground), 20)
    assert "<" not in text
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or []]
    kinds = {child.type for child in inline}
    assert "html_inline" not in kinds and "link_open" not in kinds and "image" not in kinds
    assert not [token for token in tokens if token.type == "html_block"]
    rows = [token for token in tokens if token.type == "tr_open"]
    assert len(rows) == 4
    assert EVIL in "".join(child.content for child in inline if child.type.startswith("text"))


def test_markdown_says_the_same(estate):
    text = report_text.markdown(estate, 20)
    assert text.index("6 of 8 clusters need attention") < text.index("| Cluster | Members | State |")
    assert "overdue since 2026-11-17" in text and "19 min 40 s over 15 min" in text


def test_json_is_for_programs(estate):
    document = json.loads(report_text.as_json(estate, 2))
    by_name = {cluster["name"]: cluster for cluster in document["clusters"]}
    assert document["format"] == "urn:boringdb.ops:report:v1"
    assert by_name["orders"]["last_verdict"] == "failed" and by_name["orders"]["records"] == 25
    assert len(by_name["orders"]["operations"]) == 2
    assert by_name["orders"]["operations"][0]["measurements"]["backup_bytes"] == 48_312_004_608
    assert by_name["billing"]["findings"][0]["kind"] == "altered"
    assert by_name["payments"]["due"] is None
    assert [item["trusted"] for item in json.loads(report_text.as_json(estate, 20))["clusters"][0]["operations"]].count(
        False) == 1


def shops(ground, count):
    """An estate of so many clusters, each with two members; the last one's drill failed."""
    for number in range(count):
        wrong = [{"name": "rows", "required": True, "status": "failed"}] if number == count - 1 else record()["checks"]
        for day in (-2, -1):
            begun = NOW + timedelta(days=day)
            said = record(f"shop{number:02d}", started=stamp(begun), finished=stamp(begun), checks=wrong)
            ledger.append(ground.ledger, said, ground.key)
    members = {
        f"shop{number:02d}": [report.Member(f"host{number:02d}a", "primary", "running"), report.Member("<b>")]
        for number in range(count)
    }
    return report.read_estate(
        ground.ledger, keys.load_trusted([ground.public]), title="t", now=NOW, overdue_days=7, members=members
    )


def test_members_and_open_failures_are_at_a_glance(ground):
    found = shops(ground, 2)
    text = Reader(page.render(found, 20)).text
    assert "primary host01a, 1 not running or silent" in text and "2 open failures" in text
    assert "host00a (primary), <b> (not asked, or no answer)" in text
    assert text.count("RPO trend") == 1 and "<b> " not in page.render(found, 20)
    assert "primary host00a" in report_text.markdown(found, 20)
    shown = {one["name"]: one for one in json.loads(report_text.as_json(found, 20))["clusters"]}
    assert shown["shop00"]["members"][0] == {"name": "host00a", "role": "primary", "state": "running"}


def test_many_clusters_stay_a_page(tmp_path, ground):
    """Counted, searched, and shorter for each: drawings and old drills only of what needs attention."""
    found = shops(ground, page.MANY + 1)
    text = page.render(found, 20)
    reader = Reader(text)
    assert f"Verified: {page.MANY}" in reader.text and "Drill failed: 1" in reader.text
    assert text.count('class="charts"') == 1 and "the newest 1 of 2" in reader.text
    assert 'id="find"' in text and 'id="find"' not in page.render(shops(Ground.create(tmp_path / "few"), 2), 20)


@needs_browser
def test_the_field_finds_by_host(tmp_path, ground):
    """In a browser: what is not like it goes, in the table and below."""
    typed = ("<script>onload=function(){var f=document.getElementById('find');f.value='HOST07A';"
             "f.dispatchEvent(new Event('input'))}</script>")
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.render(shops(ground, 20), 20))
    dom = browse(tmp_path, text.replace("</body>", f"{typed}</body>"))
    rows = re.findall(r"<tr( hidden=\"\")?><td><a href=\"#c-(\w+)\"", dom)
    assert [name for hidden, name in rows if not hidden] == ["shop07"] and len(rows) == 20
    assert dom.count('class="card cluster" id="c-shop07">') == 1 and "1 found" in dom
    assert len(re.findall(r'class="card cluster" id="c-\w+" hidden', dom)) == 19


def browse(tmp_path, text, *extra):
    """The page's DOM after its script ran."""
    file = tmp_path / "page.html"
    file.write_text(text)
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path / 'profile'}", *extra, "--dump-dom", f"file://{file}"],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout


@needs_browser
@pytest.mark.parametrize("width", [320, 375, 768, 901, 1000, 1260, 1440])
def test_nothing_sticks_out(tmp_path, estate, width):
    opened = page.render(estate, 3).replace("<details ", "<details open ")
    framed = re.sub(r"<meta http-equiv[^>]*>", "", opened)
    wrapper = (f'<iframe id="f" style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(framed)}"></iframe>'
               "<script>onload=function(){document.title=document.getElementById('f').contentDocument"
               ".documentElement.scrollWidth}</script>")
    dom = browse(tmp_path, wrapper, "--window-size=1600,1000", "--hide-scrollbars")
    assert int(re.search(r"<title>(\d+)</title>", dom).group(1)) == width


@needs_browser
def test_an_old_page_says_that_it_is_old(tmp_path, ground):
    made = datetime.now(timezone.utc) - timedelta(days=9)
    ledger.append(ground.ledger, record(started=stamp(made), finished=stamp(made)), ground.key)
    found = report.read_estate(ground.ledger, keys.load_trusted([ground.public]), title="t", now=made, overdue_days=7)
    dom = browse(tmp_path, page.render(found, 20))
    assert "This page was made 9 days ago" in dom
    assert "1 cluster has become overdue" in dom and "overdue since" in dom
    fresh = report.read_estate(
        ground.ledger, keys.load_trusted([ground.public]), title="t", now=datetime.now(timezone.utc), overdue_days=30)
    assert re.search(r'<p id="stale"[^>]* hidden', browse(tmp_path, page.render(fresh, 20)))
