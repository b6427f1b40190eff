"""Networks: backbones, embedding models, and saving and loading of checkpoints."""
