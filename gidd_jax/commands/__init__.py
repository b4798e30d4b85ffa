"""One file a subcommand, each with ``EXAMPLE`` and ``run(parser, arguments) -> exit status``."""
