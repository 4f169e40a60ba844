"""Everything that comes from the environment: settings, and the clients and keys they describe.

``settings.py`` reads the environment once and reports all of its errors together. The other modules
turn single settings into clients, keys and rules. Nothing here may read a record, move an upload or
import Celery.
"""
