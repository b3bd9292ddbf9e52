"""LeRobot data sets, read (v2.0, v2.1, v3.0) and written (v2.1, v3.0)."""
