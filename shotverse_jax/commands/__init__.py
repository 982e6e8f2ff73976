"""One file a command: HELP, EXAMPLES, `arguments(parser)` and `run(args)`, which returns the exit code.

They are imported to write --help, so that each imports what it needs, JAX above all, when it runs.
"""
