"""What does a page of the store cost at its beginning and at its end?"""
