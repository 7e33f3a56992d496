"""One file per sub-command of ``ecamp-fast``; imported only when called."""
