"""How the command line is spoken to: options that several commands share, and what a shell may complete.

options   one definition for every option that means the same in several commands
groups    groups of commands: what was meant by a wrong name, whole summaries, import when called
complete  what can stand where: recipes, keys, runs, shard sets
shells    ``ecamp-fast completion``: the script for bash, zsh or fish

keys.json has the keys of recipes and of settings with their words; ``make reference`` writes it.
"""
