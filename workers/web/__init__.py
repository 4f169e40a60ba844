"""What farmhaul changes in Flower's pages. ``deploy/flower/flowerconfig.py`` calls it."""
