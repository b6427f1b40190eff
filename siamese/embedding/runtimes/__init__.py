"""Run a model on square pictures, with OpenVINO on a CPU or with Keras."""
