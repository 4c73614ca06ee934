"""Records of runs: one file each, whole or not there, and folders of them."""
