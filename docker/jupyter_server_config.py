"""JupyterLab in a container: where it listens and what it opens; the token stays on."""

import os

port = int(os.environ.get("PORT", "8888"))
notebook = "/lab/tree/app/notebooks/train_siamese_network.ipynb"

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - Jupyter puts it there
# All addresses of the container, which publishes the port on 127.0.0.1 alone. Written "0.0.0.0",
# Jupyter would print the container's name as the address to open.
c.ServerApp.ip = "0"
c.ServerApp.port = port
c.ServerApp.port_retries = 0
c.ServerApp.custom_display_url = f"http://127.0.0.1:{port}{notebook}"
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/"  # the toolkit in /app, the pictures in /data
c.LabApp.default_url = notebook
c.ServerApp.allow_root = True  # of the container, and only for who starts it so
c.Application.log_level = "WARN"
