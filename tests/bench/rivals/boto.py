"""boto3 (s3transfer) scripted per file: the bytes alone, ftrack is told nothing.

Its defaults, but for one: over https boto3 does not sign the payload, so it shall not here,
where that would cost it a SHA-256. The CRC-32 that it sends along by default stays.
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
