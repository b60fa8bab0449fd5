"""Speed and memory, side by side in one run, with a history: `python -m benchmarks.bench_unroll`."""
