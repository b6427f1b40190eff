"""Run a model: OpenVINO on a CPU, or Keras."""
