"""The language of cinematography: what a shot is called, and clips that show it (arXiv 2412.12223)."""
