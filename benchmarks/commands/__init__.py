"""What a command does, one module each: the command line imports the one that it runs, and no other."""
