"""Files of any kind: written in full or not at all, and read without trust."""
