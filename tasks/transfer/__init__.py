"""The transfer of a file: check it, have its upload signed, send it, register it.

A small library without Celery, Redis, or settings of its own. Clients, files and sizes are
arguments. Each function tries once, and raises.
"""
