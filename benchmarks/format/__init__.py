"""How fast are records shaped as rows?"""
