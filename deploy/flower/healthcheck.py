"""Exit with 0 if the Flower of this container answers; the health checks of containers and pods.

Flower's own FLOWER_PORT and FLOWER_URL_PREFIX tell where: below a prefix, it answers 404 to
/healthcheck, and on its command line nobody else would see them.
"""

from __future__ import annotations

import os
import sys
import urllib.request

port = os.environ.get("FLOWER_PORT") or "5555"
prefix = os.environ.get("FLOWER_URL_PREFIX", "").strip("/")
url = f"http://127.0.0.1:{port}{prefix and f'/{prefix}'}/healthcheck"
try:
    # Without a proxy: this is the same container.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(url, timeout=5).close()
except OSError as error:
    sys.exit(f"{url}: {error}")
