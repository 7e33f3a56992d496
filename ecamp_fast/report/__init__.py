"""What a run looked like: the HTML report and its pictures."""
