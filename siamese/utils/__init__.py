"""Small helpers: files, threads, progress, signals, text."""
