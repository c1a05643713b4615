"""Commands on files: each module has a function `run(arguments)`."""
