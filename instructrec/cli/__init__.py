"""The instructrec command."""
