"""The drill can fail: every fault that is injected here must be caught by its own named check."""
