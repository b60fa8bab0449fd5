"""What a run writes down while it goes on: `records.jsonl`, TensorBoard's event files, a progress bar.

Uses no other package of l2o_tf.
"""
