"""What does a publish cost, whatever receives it?"""
