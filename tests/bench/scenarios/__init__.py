"""The scenarios; each module has ``run(stand, quick)``, which returns results."""
