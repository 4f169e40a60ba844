"""Attacks that the first version let through, as programs for that version and for this one.

``python -m tests.attacks`` copies this package into a checkout of the first version. It therefore
uses only what ``tests.farm`` and ``tests.sandbox`` have in both, and nothing of farmhaul itself
but its commands, its files, and what it keeps in Redis.
"""
