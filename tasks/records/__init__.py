"""The state machine of uploads in Redis.

An upload is a record in Redis, and every move between states is one atomic Lua script in ``lua/``.
``states.py`` is the module to read first: all states, and all moves between them. Nothing here may
talk to ftrack or the store, or import Celery. How errors are retried is decided in
``tasks/stage/retry_policy.py``; only deliveries are counted and limited here.
"""
