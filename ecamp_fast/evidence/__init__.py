"""What a model has learned, measured on held-out patients against opponents that learned nothing.

check      a claim with what was found
samples    the held-out samples in memory, and whose image stands in for whose
images     masked patches against a blur, an interpolation and the mean image
words      predicted words against the commonest ones, and with another patient's image
judge      all of these of a trained model
label_free a report card of all that needs no label, on any shard set
retrieval  whose report is whose
entities   labels that the rules read in the reports
views      whether two views of a study look alike
features   linear probes against random weights, pixels and their principal components
"""
