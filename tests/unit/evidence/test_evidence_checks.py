from __future__ import annotations

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import checks
from hypothesis import given
from hypothesis import strategies as st

ONE = st.builds(
    checks.Check,
    name=st.text("abcdefgh_", min_size=1),
    required=st.booleans(),
    status=st.sampled_from(checks.STATUSES),
    expected=st.none() | st.integers() | st.text(),
    actual=st.none() | st.booleans() | st.text(),
    seconds=st.none() | st.integers(0, 3600).map(float),
    message=st.text(),
)
OK, BAD, GONE = checks.passed("a"), checks.failed("b"), checks.skipped("c")
OPTIONAL_BAD, OPTIONAL_OK = checks.failed("d", required=False), checks.passed("e", required=False)


@pytest.mark.parametrize(
    ("listed", "error", "expected"),
    [
        ([OK], None, "verified"),
        ([OK, OPTIONAL_BAD], None, "verified"),
        ([OK, checks.skipped("x", required=False)], None, "verified"),
        ([OK, BAD], None, "failed"),
        ([OK, GONE], None, "error"),
        ([BAD, GONE], "boom", "failed"),
        ([OK], "boom", "error"),
        ([], None, "error"),
        ([OPTIONAL_OK], None, "error"),
    ],
)
def test_verdict(listed, error, expected):
    assert checks.verdict(listed, error) == expected
    assert checks.verdict([check.to_dict() for check in listed], error) == expected
    assert checks.summary(listed, error).startswith(f"{expected}: ")


@given(st.lists(ONE), st.none() | st.text(min_size=1))
def test_verified_only_when_every_required_check_passed(listed, error):
    required = [check.status for check in listed if check.required]
    proven = bool(required) and set(required) == {"passed"} and not error
    assert (checks.verdict(listed, error) == "verified") == proven


@given(ONE)
def test_dictionaries_round_trip(check):
    assert checks.Check.from_dict(check.to_dict()) == check


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"name": "a", "required": True}, "missing keys status"),
        ({"name": "a", "required": True, "status": "ok"}, "status must be one of"),
        ({"name": "a", "required": "no", "status": "failed"}, "required must be true or false"),
        ({"name": "a", "required": True, "status": "failed", "why": 1}, "unknown keys why"),
        ({"name": "", "required": True, "status": "failed"}, "needs a name"),
    ],
)
def test_a_malformed_check_is_named(data, complaint):
    with pytest.raises(ValueError, match=complaint):
        checks.Check.from_dict(data)


def test_summary_names_what_did_not_pass():
    assert checks.summary([OK, BAD, OPTIONAL_BAD, GONE]) == (
        "failed: 1 of 4 checks passed; failed: b, d (optional); skipped: c"
    )
