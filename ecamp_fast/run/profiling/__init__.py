"""What the steps of a run spend their time on, where ``train --profile`` asks: RUN/profile/.

steps        which steps
watch        looks at them while they run, and writes what it saw
recorded     what a profiler recorded, as a trace of operations and times, and nothing else
attribution  which component every instant of a step belongs to
summary      time, share and share of the roofline by component, and what waits
ceiling      what the device gives at best
"""
