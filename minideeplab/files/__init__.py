"""Files of any kind: written in full or not at all, and arrays that are read without trust."""
