"""The data plane of a shard: plain C in packet order, one Cython binding, and the same rewriting once more in Python.

Start with README.md (one packet's path, thread and lifetime rules), then ``_native.pyi`` (what Python may ask for).
"""
