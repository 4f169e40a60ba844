"""What is measured; each module has ``run(stand, quick)``, which gives results."""
