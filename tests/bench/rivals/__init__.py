"""What farmhaul is compared with: each a process of its own, run by ``stand.Stand.rival``.

They take a job and print what it took: as JSON ``seconds`` for the files alone, ``start_s``
for imports and logging in, ``cpu_s`` for both.
"""
