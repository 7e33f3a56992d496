"""The paper's tables: what they say as data, and ours beside them.

published  rows of Tables 1 to 5, S4 and S5, with what is wrong with them
grid       encoders, tasks, percentages and seeds, from YAML
registry   the tasks that a grid may name
cells      which fits a grid stands for, and what each is given
identity   what a result depends on
evaluate   computing what is missing, the learning rate chosen on validation data
rows       ours beside the paper's, and what they gain over random initialisation
differences  by how much an encoder is better than every other row, paired
diseases   ChestX-ray14 by disease, the paper's rows in both readings
render     CSV, Markdown, LaTeX
ablations  the rows of Tables 4 and 5 as changes of one recipe
"""
