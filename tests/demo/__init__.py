"""``make demo``: an evening on a small render farm, on this machine alone."""
