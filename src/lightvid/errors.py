"""Errors that a user can mend: each message is one line that names the thing and the way out."""


class LightvidError(Exception):
    """A mistake in what the user gave; the command line prints the message alone."""


class ConfigurationError(LightvidError):
    """An unknown name, a misspelt key or a wrong type in the configuration."""


class DataError(LightvidError):
    """A file or folder of a dataset that is missing, broken or of the wrong size."""


class CheckpointError(LightvidError):
    """A file that is no checkpoint, or whose tensors do not fit the network."""
