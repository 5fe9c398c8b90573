"""The commands of `adodn`, one module each; `adodn.cli` joins them."""
