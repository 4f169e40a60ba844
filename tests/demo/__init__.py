"""``make demo``: one evening of a small render farm, on this machine alone."""
