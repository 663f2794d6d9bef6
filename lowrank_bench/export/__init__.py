"""What a run has trained, for use elsewhere: a PEFT adapter, merged weights, a difference."""
