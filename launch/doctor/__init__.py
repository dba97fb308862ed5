"""Check what a run needs: ``checks`` judges, ``probes`` looks at the machine, ``__main__`` shows a line each."""
