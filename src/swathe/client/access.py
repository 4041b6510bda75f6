"""Where a batch job reads its features and writes its results, as the wire has it."""

# No `from __future__ import annotations` here: it hides `NotRequired` from `S3Specification.__optional_keys__`.
from typing import NotRequired, TypedDict


class S3Specification(TypedDict):
    """An S3 path and the credentials for it."""

    url: str
    accessKey: str
    secretAccessKey: str
    region: NotRequired[str]


class AccessSpecification(TypedDict):
    """An S3 input or output."""

    s3: S3Specification


def s3_specification(
    url: str, access_key: str, secret_access_key: str, region: str | None = None
) -> AccessSpecification:
    """The dictionary that the Batch Statistical API takes for an S3 path.

    Args:
        url: of a bucket, a folder or an object, `s3://bucket/key`.
        access_key: the AWS access key that may read or write there.
        secret_access_key: the secret that goes with it.
        region: of the bucket; without it the deployment's own region is assumed.
    """
    specification: S3Specification = {"url": url, "accessKey": access_key, "secretAccessKey": secret_access_key}
    if region is not None:
        specification["region"] = region
    return {"s3": specification}
