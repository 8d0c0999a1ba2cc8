"""What Windows Setup will do with these discs on this machine, walked before it happens.

One small module per stage of Setup; every rule names its source, and says where it is belief.
"""
