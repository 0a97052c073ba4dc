"""Questions of speed and size, a folder each: what was asked, how it is measured, what came out.

    python -m benchmarks                       all of them
    python -m benchmarks load --records 10000  one, smaller

Every claim is a ratio of two things measured in the same run: this machine may be busy, both are then.
"""
