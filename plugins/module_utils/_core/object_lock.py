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

try:
    import boto3
    import botocore.config
    import botocore.exceptions
except ImportError:
    boto3 = None

#: Whether boto3 is there.
LIBRARY = boto3 is not None

#: What a bucket without Object Lock answers.
_NONE = "ObjectLockConfigurationNotFoundError"


def object_lock(params: Params, check_mode: bool) -> Outcome:
    """Compare the bucket's versioning and default retention with what is expected. Every reason at once."""
    del check_mode
    preflight = Preflight()
    for name in ("bucket", "endpoint", "region"):
        preflight.require(bool(params[name]), f"{name} is empty", "name it")
    endpoint = params["endpoint"] or ""
    bare = not set(endpoint) & set("/: ")
    preflight.require(bare, f"endpoint is {endpoint!r}", "give the bare name, and the port as port")
    preflight.require(params["days"] >= 1, f"days is {params['days']}", "give 1 or more")
    authorities = params["ca_file"]
    preflight.require(
        not authorities or Path(authorities).is_file(), f"there is no file {authorities}", "correct ca_file"
    )
    preflight.done()
    where = f"{params['endpoint']}:{params['port']}"
    try:
        client = _client(params)
        versioning = client.get_bucket_versioning(Bucket=params["bucket"]).get("Status", "Disabled")
        lock = _lock(client, params["bucket"])
    except botocore.exceptions.ClientError as exc:
        error = exc.response.get("Error", {})
        said = f"{exc.operation_name} answers {error.get('Code', '')}: {error.get('Message', '')}"
        raise OpsError(
            f"bucket {params['bucket']} of {where}: {said}; its key needs s3:GetBucketVersioning and "
            "s3:GetBucketObjectLockConfiguration"
        ) from exc
    except botocore.exceptions.BotoCoreError as exc:
        raise OpsError(f"bucket {params['bucket']} can't be asked at {where}: {exc}") from exc
    retention = lock.get("Rule", {}).get("DefaultRetention", {})
    days = int(retention.get("Days", 0)) + 365 * int(retention.get("Years", 0))
    facts = {"versioning": versioning.lower(), "mode": retention.get("Mode", "none").lower(), "days": days}
    for what, remedy in _reasons(facts, params):
        preflight.refuse(f"bucket {params['bucket']} {what}", remedy)
    preflight.done()
    return Outcome(False, facts)


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


def _client(params: Params) -> Any:
    """boto3's client. Without a key it looks for one where it always does."""
    style = "path" if params["uri_style"] == "path" else "virtual"
    return boto3.client(
        "s3",
        endpoint_url=f"https://{params['endpoint']}:{params['port']}",
        region_name=params["region"],
        aws_access_key_id=params["key"],
        aws_secret_access_key=params["key_secret"],
        verify=params["ca_file"] or True,
        config=botocore.config.Config(
            s3={"addressing_style": style}, connect_timeout=10, read_timeout=20, retries={"total_max_attempts": 2}
        ),
    )
