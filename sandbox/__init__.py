"""Private, throw-away database servers, so that demo, tests and benchmarks need nothing but `make`.

Not part of the wheel. Every server lives in a scratch directory of its own, listens on loopback only, and ends with the
process that started it, however that process ends.
"""
