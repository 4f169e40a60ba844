"""What comes from the environment: settings, and the connections and keys they describe.

``settings.py`` reads the environment once and reports everything that is wrong with it; the other
modules turn single settings into something usable. Nothing here may read a record, move an upload
or import Celery.
"""
