"""What the command line tools share: flags, memory, compiled programs, a run's folder."""
