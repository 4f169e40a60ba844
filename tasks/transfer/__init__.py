"""The transfer itself: check a file, have it signed, send it, locate it.

A small library that knows nothing of Celery, Redis or the environment: clients,
files and sizes come in as arguments, each function tries once and raises.
"""
