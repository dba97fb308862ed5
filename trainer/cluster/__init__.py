"""Ray and the run's actors: resources, placement, settings, start."""
