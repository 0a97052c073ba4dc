"""What do the triggers and the indexes cost a load?"""
