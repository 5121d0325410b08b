"""What a service may trust the loop with: nothing hangs, nothing leaks, nothing is lost. `docs/promises.md` is the index."""
