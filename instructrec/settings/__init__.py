"""What pipelines are told; the command line reads nothing heavier."""
