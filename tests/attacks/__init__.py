"""The attacks that were tried, from each position of the table in SECURITY.md."""
