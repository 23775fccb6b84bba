"""The operator's command line: what a controller knows, as tables, text or JSON."""
