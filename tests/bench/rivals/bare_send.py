"""A bare Celery: the least that a hook needs to queue a task. A cold start, without farmhaul."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bare", broker=os.environ["FARMHAUL_REDIS_URL"])
app.send_task(
    "bare.nothing", kwargs={"path": "/mnt/prod/sh010.mov"}, queue="bare", ignore_result=True
)
