"""A stand-in for OpenCue's cuebot: hands the frames of one job to a real RQD, in order.

    python cuebot.py PORT RQD_PORT LOG_FOLDER < spec.xml

Runs in the virtual environment of opencue.lock. Writes a JSON line for each frame that has
ended. It knows what cuebot does with frames, dependencies, tokens and the environment, as its
source has it (DispatchSupportService.java), and nothing of retries or many hosts.
"""

from __future__ import annotations

import json
import queue
import sys
from concurrent import futures
from typing import Any
from xml.etree import ElementTree

import FileSequence
import grpc
from opencue_proto import report_pb2, report_pb2_grpc, rqd_pb2, rqd_pb2_grpc

START_S = 60
FRAME_S = 60


class Reports(report_pb2_grpc.RqdReportInterfaceServicer):
    """What RQD tells."""

    def __init__(self) -> None:
        self.started: queue.Queue[Any] = queue.Queue()
        self.ended: queue.Queue[Any] = queue.Queue()

    def ReportRqdStartup(self, request: Any, context: Any) -> Any:  # noqa: N802 gRPC's name
        self.started.put(request)
        return report_pb2.RqdReportRqdStartupResponse()

    def ReportStatus(self, request: Any, context: Any) -> Any:  # noqa: N802 gRPC's name
        return report_pb2.RqdReportStatusResponse()

    def ReportRunningFrameCompletion(self, request: Any, context: Any) -> Any:  # noqa: N802 as above
        self.ended.put(request.frame_complete_report)
        return report_pb2.RqdReportRunningFrameCompletionResponse()


def frame(layer: Any, number: int, log_folder: str) -> Any:
    """The frame of a layer as cuebot hands it to RQD."""
    name = f"{number:04d}-{layer.get('name')}"
    command = layer.findtext("cmd").replace("#ZFRAME#", f"{number:04d}")
    command = command.replace("#IFRAME#", str(number))
    environment = {key.get("name"): key.text for key in layer.iterfind("env/key")}
    return rqd_pb2.RunFrame(
        resource_id=name,
        job_id="job",
        job_name="job",
        frame_id=name,
        frame_name=name,
        layer_id=layer.get("name"),
        command=command,
        user_name="artist",
        log_dir=log_folder,
        log_file=f"{name}.rqlog",
        log_dir_file=f"{log_folder}/{name}.rqlog",
        show="demo",
        shot="sh010",
        num_cores=100,
        uid=9860,
        gid=20,
        environment={"CUE_IFRAME": str(number), **environment},
    )


def main() -> None:
    """Run the job, layer by layer; a layer comes after those that it depends on."""
    port, rqd_port, log_folder = sys.argv[1:]
    reports = Reports()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    report_pb2_grpc.add_RqdReportInterfaceServicer_to_server(reports, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    spec = ElementTree.fromstring(sys.stdin.read().rpartition('.dtd">')[2])
    depends = {
        one.findtext("deplayer"): (one.get("type"), one.findtext("onlayer"))
        for one in spec.iterfind("depends/depend")
    }
    layers = sorted(
        spec.iterfind("job/layers/layer"),
        key=lambda layer: (layer.get("type") == "Post", layer.get("name") in depends),
    )
    reports.started.get(timeout=START_S)
    rqd = rqd_pb2_grpc.RqdInterfaceStub(grpc.insecure_channel(f"127.0.0.1:{rqd_port}"))
    exit_statuses: dict[str | None, dict[int, int]] = {}
    for layer in layers:
        numbers = list(FileSequence.FrameSet(layer.findtext("range")))
        kind, on = depends.get(layer.get("name"), ("", ""))
        ended = exit_statuses[layer.get("name")] = {}
        for number in numbers:
            if kind == "FRAME_BY_FRAME" and exit_statuses[on].get(number):
                continue
            if kind == "LAYER_ON_LAYER" and any(exit_statuses[on].values()):
                continue
            rqd.LaunchFrame(
                rqd_pb2.RqdStaticLaunchFrameRequest(run_frame=frame(layer, number, log_folder))
            )
            report = reports.ended.get(timeout=FRAME_S)
            ended[number] = report.exit_status
            line = {"frame": report.frame.frame_name, "exit_status": report.exit_status}
            print(json.dumps(line), flush=True)
    server.stop(0)


main()
