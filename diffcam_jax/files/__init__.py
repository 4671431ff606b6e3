"""Files that the package writes and reads back: parameter trees, network folders, codes, caches."""
