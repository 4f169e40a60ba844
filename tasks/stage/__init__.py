"""The shared parts of the stages: their base class, their connections, and their retry policy.

The four tasks in ``tasks.upload`` are short because everything they share is here. A module here
may use Celery, the records and the transfer library. Nothing here may know which stage comes next
(``tasks.chain``) or what a user typed (``tasks.intake``).
"""
