"""What several test modules use: no test imports another test."""
