"""JupyterLab in a container: where it listens and what it opens; the token stays on."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - Jupyter puts it there
c.ServerApp.ip = "0.0.0.0"  # of the container; it is published on 127.0.0.1 alone
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/"  # the toolkit in /app, the pictures in /data
c.ServerApp.default_url = "/lab/tree/app/notebooks/train_siamese_network.ipynb"
c.ServerApp.custom_display_url = f"http://127.0.0.1:{os.environ.get('PORT', '8888')}/"
c.ServerApp.allow_root = True  # of the container, and only for who starts it so
c.ServerApp.log_level = "WARN"
