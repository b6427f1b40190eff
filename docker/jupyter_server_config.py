"""Settings of JupyterLab in a container: its address and start page. The token stays on."""

import os

port = int(os.environ.get("PORT", "8888"))
notebook = "/lab/tree/app/notebooks/train_siamese_network.ipynb"

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - defined by Jupyter
# Listen on all addresses of the container, whose port is published on 127.0.0.1 only. "0" and not
# "0.0.0.0", because then Jupyter prints the container's name in the address to open.
c.ServerApp.ip = "0"
c.ServerApp.port = port
c.ServerApp.port_retries = 0
c.ServerApp.custom_display_url = f"http://127.0.0.1:{port}{notebook}"
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/"  # the toolkit is in /app, the pictures are in /data
c.LabApp.default_url = notebook
c.ServerApp.allow_root = True  # only matters if the container is started as root
c.Application.log_level = "WARN"
