"""Read answers out of text, and mark them against a gold answer."""
