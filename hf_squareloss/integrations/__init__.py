"""Our losses where other toolkits expect theirs: one module per toolkit."""
