"""Run a model on square pictures: by OpenVINO on a CPU, or by Keras."""
