"""The state machine of uploads in Redis.

An upload is a record in Redis, and every move between states is one atomic Lua script in ``lua/``.
``states.py`` is the page to read first: all states, and all moves between them. Nothing here may
talk to ftrack or the store, import Celery, or decide how often something is tried again.
"""
