"""How near to its limit is a full load?"""
