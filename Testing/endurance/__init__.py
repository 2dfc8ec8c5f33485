"""Long days and bad ones: many volumes, a very long one, kills, full disks. ``make endurance``."""
