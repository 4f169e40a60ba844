"""boto3 (s3transfer), file by file: the bytes alone, without ftrack.

It has its defaults, except one: over https boto3 does not sign the payload, so it does not here
either, where that would cost a SHA-256. It sends its CRC-32, as by default.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.rivals.job import Job, run


def prepare(job: Job) -> Callable[[], None]:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=job.store_url,
        aws_access_key_id="bench",
        aws_secret_access_key="bench",
        region_name="us-east-1",
        config=Config(s3={"payload_signing_enabled": False, "addressing_style": "path"}),
    )

    def upload() -> None:
        for name, path in job.named:
            client.upload_file(path, "ftrack", name)

    return upload


if __name__ == "__main__":
    run(prepare)
