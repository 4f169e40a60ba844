"""The background work of a worker's main process: leases, reconciler, spool, encodings.

Each module is one boot step of Celery, a ``PeriodicStep`` that uses the records and the chain. No
step may run a stage or print to the terminal: results go to the records, problems to the log.
"""
