"""The rivals of farmhaul: ``stand.Stand.rival`` runs each as a process.

A rival takes a job, and prints JSON: ``seconds`` and ``cpu_s`` for the files alone, and ``start_s``
for imports and login.
"""
