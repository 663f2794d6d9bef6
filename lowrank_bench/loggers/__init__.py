"""Where metrics go: our own JSONL always; W&B, TensorBoard or trackio by choice."""
