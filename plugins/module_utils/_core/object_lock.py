# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`object_lock`: whether a bucket keeps what is written to it, whoever asks for its removal. It is read, never set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.object_lock_backup import read_back

try:
    import boto3
    import botocore.config
    import botocore.exceptions
    import botocore.parsers
except ImportError:
    boto3 = None

#: Whether boto3 is there.
LIBRARY = boto3 is not None

#: What a bucket without Object Lock answers.
_NONE = "ObjectLockConfigurationNotFoundError"


def object_lock(params: Params, check_mode: bool) -> Outcome:
    """Compare the bucket's versioning and default retention, and a backup's own, with what is expected.

    Every reason at once.
    """
    del check_mode
    preflight = Preflight()
    for name in ("bucket", "endpoint", "region"):
        preflight.require(bool(params[name]), f"{name} is empty", "name it")
    endpoint = params["endpoint"] or ""
    bare = not set(endpoint) & set("/: ")
    preflight.require(bare, f"endpoint is {endpoint!r}", "give the bare name, and the port as port")
    preflight.require(params["days"] >= 1, f"days is {params['days']}", "give 1 or more")
    preflight.require(params["sample"] >= 0, f"sample is {params['sample']}", "give 0 or more")
    preflight.require(params["stanza"] != "", "stanza is empty", "name it, or leave it out")
    authorities = params["ca_file"]
    preflight.require(
        not authorities or Path(authorities).is_file(), f"there is no file {authorities}", "correct ca_file"
    )
    preflight.done()
    where = f"{params['endpoint']}:{params['port']}"
    needs = ["s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration"]
    if params["stanza"]:
        needs += ["s3:ListBucket", "s3:GetObjectRetention"]
    try:
        client = connect(params)
        facts = _default(client, params["bucket"])
        reasons = list(_reasons(facts, params))
        # Without a lock there is nothing that an object could carry.
        if params["stanza"] and facts["mode"] != "none":
            own, more = read_back(client, params)
            facts |= own
            reasons += more
    except botocore.exceptions.ClientError as exc:
        error = exc.response.get("Error", {})
        said = f"{exc.operation_name} answers {error.get('Code', '')}: {error.get('Message', '')}"
        rights = f"{', '.join(needs[:-1])} and {needs[-1]}"
        raise OpsError(f"bucket {params['bucket']} of {where}: {said}; its key needs {rights}") from exc
    except botocore.parsers.ResponseParserError:
        # Its message quotes what came, which may be an object of a backup.
        raise OpsError(f"bucket {params['bucket']} can't be asked at {where}: its answer is not S3's") from None
    except botocore.exceptions.BotoCoreError as exc:
        raise OpsError(f"bucket {params['bucket']} can't be asked at {where}: {exc}") from exc
    for what, remedy in reasons:
        preflight.refuse(f"bucket {params['bucket']} {what}", remedy)
    preflight.done()
    return Outcome(False, facts)


def _default(client: Any, bucket: str) -> dict[str, Any]:
    """What holds for an object that is written now."""
    versioning = client.get_bucket_versioning(Bucket=bucket).get("Status", "Disabled")
    retention = _lock(client, bucket).get("Rule", {}).get("DefaultRetention", {})
    days = int(retention.get("Days", 0)) + 365 * int(retention.get("Years", 0))
    return {"versioning": versioning.lower(), "mode": retention.get("Mode", "none").lower(), "days": days}


def _reasons(found: dict[str, Any], wanted: Params) -> Iterator[tuple[str, str]]:
    if found["versioning"] != "enabled":
        yield f"has versioning {found['versioning']}", "what is overwritten is lost: turn it on"
    if found["mode"] == "none":
        yield "has no Object Lock with a default retention", "have the store's owner set one"
        return
    if wanted["mode"] == "compliance" and found["mode"] != "compliance":
        yield (
            f"has Object Lock in {found['mode']} mode, which whoever holds s3:BypassGovernanceRetention gets around",
            "set compliance, or expect governance",
        )
    if found["days"] < wanted["days"]:
        yield f"keeps an object for {found['days']} days, not for {wanted['days']}", "raise its default retention"


def _lock(client: Any, bucket: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    except botocore.exceptions.ClientError as exc:
        if exc.response.get("Error", {}).get("Code") == _NONE:
            return {}
        raise
    return found


def connect(params: Params) -> Any:
    """boto3's client. Without a key it looks for one where it always does."""
    style = "path" if params["uri_style"] == "path" else "virtual"
    return boto3.client(
        "s3",
        endpoint_url=f"https://{params['endpoint']}:{params['port'] or 443}",
        region_name=params["region"],
        aws_access_key_id=params["key"],
        aws_secret_access_key=params["key_secret"],
        verify=params["ca_file"] or True,
        config=botocore.config.Config(
            s3={"addressing_style": style}, connect_timeout=10, read_timeout=20, retries={"total_max_attempts": 2}
        ),
    )
