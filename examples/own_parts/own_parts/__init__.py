"""Parts of one's own, one kind a file."""
