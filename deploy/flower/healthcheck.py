"""Exit with 0 if the Flower of this container answers; the health checks of containers and pods.

Flower's own FLOWER_PORT, FLOWER_URL_PREFIX, FLOWER_ADDRESS and FLOWER_CERTFILE tell where: below a
prefix, it answers 404 to /healthcheck, and on its command line nobody else would see them.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
import urllib.request

port = os.environ.get("FLOWER_PORT") or "5555"
prefix = os.environ.get("FLOWER_URL_PREFIX", "").strip("/")
address = os.environ.get("FLOWER_ADDRESS", "")
host = "127.0.0.1" if address in {"", "0.0.0.0", "::"} else address  # noqa: S104 not bound to it
host = f"[{host}]" if ":" in host else host
scheme = "https" if os.environ.get("FLOWER_CERTFILE") else "http"
if unusable := re.search("[^A-Za-z0-9/._~%-]", prefix):
    # Flower compares it, as a regular expression, with the path as it stands in the request.
    why = f"no path in a request matches {unusable[0]!a}; quote it, as in my%20farm"
    sys.exit(f"FLOWER_URL_PREFIX={prefix}: {why}")
url = f"{scheme}://{host}:{port}{prefix and f'/{prefix}'}/healthcheck"
try:
    # Without a proxy, and with any certificate: this is the same container.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
    opener.open(url, timeout=5).close()
except OSError as error:
    sys.exit(f"{url}: {error}")
