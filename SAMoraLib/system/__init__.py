"""What the operating system gives: files, memory, the parent process, launchers' ranks (torch-free)."""
