"""The console command `pocketnets`, which calls all others."""
