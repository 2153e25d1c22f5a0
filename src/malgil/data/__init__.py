"""Files -> documents -> token stores -> examples -> batches.

sources, readers   what --data names -> documents, streamed
corpus             documents -> a training and a validation part
store              a part and a tokenizer -> token ids on disk
windows, lanes     token ids -> examples by (epoch, index): windows, or streams for recurrent models
sequences          token ids -> sequences that a model reads whole -> rows by (seed, epoch)
pair_rows, pairs   what --data, --source and --target name -> pairs of texts -> two parts; numerals: the built-in ones
columns            a table -> which of its columns are meant
label_rows, label_tags, label_answers   labelled files -> label_records; label_checks: what looks wrong in them
labels             what --data names -> records with labels, scores, tags or answers -> two parts
pair_store         a part of pairs and two tokenizers -> two token stores, and which pairs are used
buckets            pairs -> batches of similar length by (seed, epoch)
loader             examples -> batches by the number of the step
"""
