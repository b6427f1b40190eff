"""Build, save and load networks: backbones, embedding models, checkpoints."""
