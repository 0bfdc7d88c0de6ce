"""Networks for other programs: files that they read, and a page that runs one."""
