"""What all tests share."""

from hypothesis import settings

pytest_plugins = ["tests.sandbox.fixtures"]

# A machine that stalls is no fault of an example.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")
