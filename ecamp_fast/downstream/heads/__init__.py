"""What is put on a trunk's patch tokens, and the losses of it.

detections  boxes found in an image, the surest of those that overlap
fcos        torchvision's FCOS on a simple pyramid
neck        three scales from one map
yolo        the paper's YOLOv3 head: assignment, loss, decoding
"""
