"""What comes from the environment: settings, and the connections and keys they describe.

``settings.py`` reads the environment once and reports all of its errors together. The other modules
make something usable of single settings. Nothing here may read a record, move an upload or import
Celery.
"""
