"""The console command `pocketnets`, which calls every other one."""
