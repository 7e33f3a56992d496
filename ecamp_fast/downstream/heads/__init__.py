"""What is put on a trunk's patch tokens, and the losses of it.

classifier  a mean, a norm, a linear layer
dense      one logit per pixel: the paper's head, a linear one, a convolutional one
dpt        the decoder of DPT, by segmentation-models-pytorch
mask_loss  focal loss and soft Dice
detections  boxes found in an image, the surest of those that overlap
fcos        torchvision's FCOS on a simple pyramid
neck        three scales from one map
yolo        the paper's YOLOv3 head: assignment, loss, decoding
"""
