"""The paper's figures: a function that computes each one's data, and one that draws it.

What a figure shows of a network is a dict of numbers, strings and lists, which can be saved as
JSON. A figure of several networks is drawn from a dict of these, in the order in which they are
shown, and needs no network.
"""
