"""Filling holes with what other frames show, without learning."""
