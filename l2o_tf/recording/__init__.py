"""What a run writes down while it goes on: `records.jsonl`, TensorBoard's event files, a progress bar.

`records.Recorder` is the one object that a training knows; `records.read_records` reads the lines again. Uses no other
package of l2o_tf.
"""
