"""Frozen records, configuration, errors, telemetry and files: what every other room stands on."""
