"""What training minimises, and what it reports."""
