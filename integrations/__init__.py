"""What others' tools need to use ours."""
