"""How does the store's cost grow with what it holds?"""
