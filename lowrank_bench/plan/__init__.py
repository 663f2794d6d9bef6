"""What training costs, told before it: a run's own code, run on tensors that have only shapes."""
