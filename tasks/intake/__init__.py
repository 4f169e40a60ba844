"""From what a user wrote, as options or a manifest, to checked requests.

Every check of user input is here, so that hooks, the command line and workers refuse the same
things in the same words. A hook imports this package for each frame. It must keep to the standard
library, and must not import the records, Celery or Redis.
"""
