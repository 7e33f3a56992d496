"""What `ecamp-fast doctor` looks at: small checks of machine, configuration and data, grouped by subject."""
