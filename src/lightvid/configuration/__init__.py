"""Configuration: OmegaConf composes files and overrides into one plain tree, which `building` checks and builds.

A configuration is made of `base.yaml`, one file of each chosen group (task, backbone, data, trainer, logger, paper) and
`key=value` overrides. The result is a plain dictionary: it is saved beside the run, is itself a valid configuration,
and nothing heavy is imported until it is built, but a class that an override puts in the place of another.
"""

from lightvid.configuration.composing import compose, compose_linked, holds_a_run
from lightvid.configuration.groups import root_keys

__all__ = ["compose", "compose_linked", "holds_a_run", "root_keys"]
