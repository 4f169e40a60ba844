"""How messages travel: kombu's Redis transport with corrections, and the seal on messages.

``transport.py`` keeps a worker alive when Redis restarts, and drops foreign messages; ``seal.py``
seals and checks them. Nothing here may know what a task's message means.
"""
