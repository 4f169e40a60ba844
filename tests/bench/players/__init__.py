"""Programs that stand for many machines: each is a process, and a scenario starts a few of them."""
