"""What the controller keeps: hosts, instances, faults, and what each sink still has to be told."""
