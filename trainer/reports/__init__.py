"""Pages, pictures and tables made of finished runs."""
