"""Pictures and tables of results, made again from the CSV files in docs/studies."""
