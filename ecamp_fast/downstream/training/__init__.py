"""Fitting a task's model: settings, loop, state."""
