"""The HTTP server over a run."""
