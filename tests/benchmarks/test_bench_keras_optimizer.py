from benchmarks import bench_keras_optimizer


def test_both_are_measured():
    adam, learned = bench_keras_optimizer.compare("L2O-DM", coordinates=1000, repetitions=2, jit_compile=False)
    assert (adam[0], learned[0]) == ("Keras Adam", "L2O-DM")
    assert adam[2] == 1.0
    assert learned[1] > 0
    # Two LSTM layers of 20 units with h and c, in float32; Adam's two moments.
    assert 80 * 1000 * 4 <= learned[3] * 2**20 < 80 * 1000 * 4 + 100
    assert 2 * 1000 * 4 <= adam[3] * 2**20 < 2 * 1000 * 4 + 100
