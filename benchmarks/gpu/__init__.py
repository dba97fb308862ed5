"""The proof kit: what a machine with GPUs shows of the project in minutes; ``python -m benchmarks.gpu`` runs it."""
