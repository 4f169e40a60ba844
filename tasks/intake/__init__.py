"""Turns the options and manifests of users into checked requests.

All checks of user input are here, so that hooks, the command line and workers refuse the same
things with the same messages. A hook imports this package for every frame: it must keep to the
standard library, and must not import the records, Celery or Redis.
"""
