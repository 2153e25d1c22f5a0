"""Files -> documents -> token stores -> examples -> batches.

sources, readers   what --data names -> documents, streamed
corpus             documents -> a training and a validation part
store              a part and a tokenizer -> token ids on disk
windows, lanes     token ids -> examples by (epoch, index): windows, or streams for recurrent models
loader             examples -> batches by the number of the step
"""
