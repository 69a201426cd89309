"""The builder of the few-shot image benchmarks."""
