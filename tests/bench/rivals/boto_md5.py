"""boto3 with farmhaul's check, a Content-MD5 on every PUT and part: the bytes alone, no ftrack.

``upload_file`` takes no Content-MD5, so this sends what its TransferManager would, with its sizes
and its number of requests at a time. All files share those requests, unless the option
``one_by_one`` sends them as a loop of ``upload_file`` does: a file after the other.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.bench.rivals.job import Job, run

BUCKET = "ftrack"


def prepare(job: Job) -> Callable[[], None]:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    sizes = TransferConfig()
    client = boto3.client(
        "s3",
        endpoint_url=job.store_url,
        aws_access_key_id="bench",
        aws_secret_access_key="bench",
        region_name="us-east-1",
        config=Config(
            s3={"payload_signing_enabled": False, "addressing_style": "path"},
            max_pool_connections=sizes.max_concurrency,
            request_checksum_calculation="when_required",
        ),
    )
    threads = ThreadPoolExecutor(sizes.max_concurrency)
    chunk = sizes.multipart_chunksize

    def put(name: str, path: str) -> None:
        with open(path, "rb", buffering=0) as file:
            body = file.read()
        client.put_object(Bucket=BUCKET, Key=name, Body=body, ContentMD5=_md5(body))

    def put_part(name: str, path: str, upload_id: str, number: int) -> dict[str, Any]:
        with open(path, "rb", buffering=0) as file:
            body = os.pread(file.fileno(), chunk, (number - 1) * chunk)
        answer = client.upload_part(
            Bucket=BUCKET,
            Key=name,
            UploadId=upload_id,
            PartNumber=number,
            Body=body,
            ContentMD5=_md5(body),
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def put_in_parts(name: str, path: str, size: int) -> None:
        upload_id = client.create_multipart_upload(Bucket=BUCKET, Key=name)["UploadId"]
        numbers = range(1, -(-size // chunk) + 1)
        parts = list(threads.map(lambda number: put_part(name, path, upload_id, number), numbers))
        client.complete_multipart_upload(
            Bucket=BUCKET, Key=name, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )

    def upload() -> None:
        sent = []
        for name, path in job.named:
            if (size := os.path.getsize(path)) >= sizes.multipart_threshold:
                put_in_parts(name, path, size)
                continue
            sent.append(threads.submit(put, name, path))
            if job.options.get("one_by_one"):
                sent[-1].result()
        for one in sent:
            one.result()

    return upload


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


if __name__ == "__main__":
    run(prepare)
