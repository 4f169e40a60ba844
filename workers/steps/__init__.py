"""What the main process of a worker does beside its tasks: leases, reconciler, spool, jobs.

Each module is one boot step of Celery, most of them a ``PeriodicStep``. A step may use the records
and the chain. No step may run a stage itself, or print for a person.
"""
