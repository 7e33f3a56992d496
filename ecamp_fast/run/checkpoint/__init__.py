"""Checkpoints that are complete or absent, and that any number of ranks reads; the engine is not known here.

commit       a checkpoint written by all ranks together, or by none
saver        the same behind a running loop: a snapshot now, the disk later
agreement    what ranks tell each other beside their collectives
tensor_file  tensors in safetensors files, whole or by range
manifest     what a checkpoint holds, and the digest that proves it
verify       whether a folder is a complete checkpoint
find         the checkpoint to go on from
read         its tensors, whole or by range
retention    which checkpoints stay

engine_state     what an engine of DeepSpeed keeps, by parameter
deepspeed_files  DeepSpeed's own files, for its tools
former           checkpoints of versions up to 0.1 into those of today
former_files     DeepSpeed's files in them, by parameter
"""
