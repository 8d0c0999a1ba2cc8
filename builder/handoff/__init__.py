"""The same plan for installations without an answer ISO: network boot, WDS, Hyper-V.

Each module lays files into a tree; what they say was decided by the plan and its carrier.
"""
