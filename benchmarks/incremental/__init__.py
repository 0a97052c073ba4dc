"""What does a run cost that finds nothing new?"""
