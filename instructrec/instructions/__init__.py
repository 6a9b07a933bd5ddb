"""The P/I/T format, templates, teachers and rendering."""
