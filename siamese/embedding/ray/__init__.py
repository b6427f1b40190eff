"""Embed the pictures of a catalogue on a Ray cluster."""
