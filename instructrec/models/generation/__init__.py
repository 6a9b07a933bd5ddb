"""Targets written token by token, and searches over titles."""
