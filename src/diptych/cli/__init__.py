"""The command line: one file per command, each with HELP, arguments(parser) and run(args)."""
