"""What is computed: architectures, FLOP, bytes and memory."""
