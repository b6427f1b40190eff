"""What embeds the files of a catalogue: this process, or many machines behind one protocol."""

from __future__ import annotations

from siamese.engines.protocol import Engine, EngineName

__all__ = ["Engine", "EngineName"]
