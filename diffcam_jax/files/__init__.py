"""What is written to disk and read back: parameter trees, folders of networks, codes, caches."""
