"""Long work: runs asked for, done by workers or by the calling process, watched, and shown."""
