"""Does memory stay flat?"""
