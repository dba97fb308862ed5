"""Tell whether two mathematical expressions are the same."""
