"""What is simulated: hardware, model, parallelism, workload and policies in one document."""
