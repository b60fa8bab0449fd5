import json

from benchmarks import measure_guard
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer
from problems import make_problem
from problems.base import make_seed


def test_a_run_and_its_table(tmp_path):
    problem = make_problem("mnist_conv", data="embedded", batch_size=8)
    settings = {"period": 20, "patience": 1}
    for label, rate in (("forwards", 1.0), ("uphill", -1.0)):
        optimizer = LearnedOptimizer("RNNprop-CL-IL", rate, guard=settings)
        found = measure_guard.run(problem, "mnist_conv", optimizer, make_seed(0), 100)
        assert list(found["ln_loss"]) == [100]
        (tmp_path / f"mnist_conv--{label}.json").write_text(json.dumps(found | {"optimizer": label}))
    assert found["guard"]["fallback"] % 20 == 19
    assert list(found["ln_loss"]) == [100]
    table = measure_guard.table(tmp_path, "mnist_conv").splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| forwards", "| uphill"]
