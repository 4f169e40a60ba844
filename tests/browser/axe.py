"""axe-core, which finds what people with disabilities cannot use: from npm, in a cache."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.helpers.skipping import skip_loudly

VERSION = "4.14.1"
INTEGRITY = (
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)
#: What axe calls a finding that keeps somebody from using a page.
SERIOUS = {"serious", "critical"}


def source() -> str:
    """Return axe-core's JavaScript; it is fetched once."""
    named = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(named) if named else Path.home() / ".cache") / "farmhaul"
    script = cache / f"axe-{VERSION}.js"
    if not script.exists():
        if not shutil.which("npm"):
            skip_loudly("NO PAGE WAS CHECKED FOR ACCESSIBILITY", "npm is not installed")
        with tempfile.TemporaryDirectory() as folder:
            command = ["npm", "pack", f"axe-core@{VERSION}", "--silent"]
            subprocess.run(command, cwd=folder, check=True, timeout=120, capture_output=True)
            [packed] = Path(folder).glob("*.tgz")
            digest = hashlib.sha512(packed.read_bytes()).digest()
            assert base64.b64encode(digest).decode() == INTEGRITY
            with tarfile.open(packed) as archive:
                content = archive.extractfile("package/axe.min.js")
                assert content is not None
                cache.mkdir(parents=True, exist_ok=True)
                new = script.with_name(f"{script.name}.{os.getpid()}.new")
                new.write_bytes(content.read())
        new.replace(script)
    return script.read_text(encoding="utf-8")


def serious_findings(page: Any) -> list[str]:
    """Return a line for each serious finding on a page: the rule, where, and why.

    The page's context needs ``bypass_csp``, because the page itself lets no script in.
    """
    page.evaluate(source())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{finding['id']}: {node['target']}: {node['failureSummary']}"
        for finding in found["violations"]
        if finding["impact"] in SERIOUS
        for node in finding["nodes"]
    ]
