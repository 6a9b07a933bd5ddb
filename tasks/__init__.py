"""SeqIO registrations; import a module to register its tasks."""
