"""The paper's tables: what they say as data, and ours beside them.

published  rows of Tables 1 to 5, S4 and S5, with what is wrong with them
"""
