"""What does an ODK form with repeats cost?"""
