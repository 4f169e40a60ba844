"""The rivals of farmhaul: ``stand.Stand.rival`` runs each as a process.

A rival takes a job, and prints JSON: ``seconds`` for the files alone, ``start_s`` for imports and
login, and ``cpu_s`` for both.
"""
