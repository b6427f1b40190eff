"""Embed a catalogue on a Ray cluster."""
