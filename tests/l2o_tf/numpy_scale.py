"""L2O-Scale in NumPy, tensor by tensor and scale by scale, written from the equations and not from the code.

A state is one dict per tensor: `h [n, H0], c [1, H1], d_s, d_i, lam [n, 1], a, m` (lists over time scales of `[n, 1]`);
the global state `z [1, H2]` is apart. Levels that do not exist are None.
"""

import numpy as np

DEFAULTS = {
    "levels": (10, 20, 20),
    "time_scales": 4,
    "max_log_learning_rate": 33.0,
    "dynamic_learning_rates": True,
    "learn_input_decay": True,
    "learn_scale_decay": True,
    "learn_initial_vectors": True,
    "scale_decay_per_time_scale": False,
    "gradient_products": True,
    "log_mean_squares": True,
    "relative_learning_rate": "problem",
    "extreme_learning_rate": False,
    "learning_rate_shortcut": False,
    "gradient_shortcut": True,
    "global_input": "last",
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def shapes(**options):
    """Name -> shape of every weight, in the order of the original program's checkpoint."""
    o = DEFAULTS | options
    levels, scales = o["levels"], o["time_scales"]
    first, depth = levels[0], len(levels)
    features = scales + (scales - 1) * o["gradient_products"] + scales * o["log_mean_squares"]
    features += (o["relative_learning_rate"] != "none") + o["extreme_learning_rate"] + o["learning_rate_shortcut"]

    def dense(name, rows, columns):
        return {f"{name}/Matrix": (rows, columns), f"{name}/Bias": (columns,)}

    def readout(name):
        return {f"{name}_weights": (first, 1), f"{name}_bias": (1,)}

    def gru(name, rows, units):
        name = f"{name}/BiasGRUCell"
        return dense(f"{name}/gates/Affine", rows + units, 2 * units) | dense(
            f"{name}/candidate/Affine", rows + units, units
        )

    found = {f"Level{i}_RNN/init_vector": (1, n) for i, n in enumerate(levels) if o["learn_initial_vectors"]}
    found["update_weights"] = (first, 1)
    found |= readout("scl_decay") if o["learn_scale_decay"] else {}
    found |= readout("inp_decay") if o["learn_input_decay"] and scales > 1 else {}
    found |= readout("learning_rate") if o["dynamic_learning_rates"] else {}
    found |= dense("PerTensor/Layer0_RNN/Param/Affine", levels[1], 3 * first) if depth > 1 else {}
    found |= dense("PerTensor/Layer0_RNN/Global/Affine", levels[2], 3 * first) if depth > 2 else {}
    found |= gru("PerTensor/Layer0_RNN", features, first)
    found |= dense("PerTensor/Layer1_RNN/Affine", levels[2], 3 * levels[1]) if depth > 2 else {}
    found |= gru("PerTensor/Layer1_RNN", first + features, levels[1]) if depth > 1 else {}
    found |= {"PerTensor/GradsToDelta/Matrix": (scales, 1)} if o["gradient_shortcut"] else {}
    if o["dynamic_learning_rates"]:
        found |= {"PerTensor/learning_rate_momentum_logit": (), "PerTensor/param_stepsize_offset": ()}
    return found | (gru("Layer2_RNN", levels[1], levels[2]) if depth > 2 else {})


def random_weights(rng, spread=0.4, **options):
    return {name: spread * rng.normal(size=shape) for name, shape in shapes(**options).items()}


def initial_state(w, log_rates, **options):
    """States of tensors whose first log learning rates are `log_rates`, a list of `[n, 1]`, and z."""
    o = DEFAULTS | options
    start = [w.get(f"Level{i}_RNN/init_vector", np.zeros([1, n])) for i, n in enumerate(o["levels"])]
    start += [None] * (3 - len(start))
    states = []
    for lam in log_rates:
        n, zero = len(lam), np.zeros([len(lam), 1])
        scales = [zero for _ in range(o["time_scales"])]
        h = np.repeat(start[0], n, axis=0)
        states.append({"h": h, "c": start[1], "d_s": zero, "d_i": zero, "lam": lam, "a": scales, "m": scales})
    return states, start[2]


def gru(w, name, v, s, beta):
    units = s.shape[1]
    gates, candidate = (f"{name}/BiasGRUCell/{part}/Affine" for part in ("gates", "candidate"))
    rho = np.hstack([v, s]) @ w[f"{gates}/Matrix"] + w[f"{gates}/Bias"]
    r = sigmoid(rho[:, :units] + beta[:, :units])
    u = sigmoid(rho[:, units:] + beta[:, units : 2 * units])
    inside = np.hstack([v, r * s]) @ w[f"{candidate}/Matrix"] + w[f"{candidate}/Bias"]
    return u * s + (1 - u) * np.tanh(inside + beta[:, 2 * units :])


def dense(w, name, x):
    return x @ w[f"{name}/Matrix"] + w[f"{name}/Bias"]


def step(w, grads, states, z, **options):
    """One step: `(updates, states, z)`; `grads` and `updates` are lists of `[n, 1]`, and updates are added."""
    o = DEFAULTS | options
    depth = len(o["levels"])
    everything = np.mean(np.vstack([s["lam"] for s in states]))
    updates, after = [], []
    for g, s in zip(grads, states, strict=True):
        new, scaled, features = _features(o, g, s, everything)
        beta = np.zeros([1, 3 * o["levels"][0]])
        if depth > 1:
            beta = beta + dense(w, "PerTensor/Layer0_RNN/Param/Affine", s["c"])
        if depth > 2:
            beta = beta + dense(w, "PerTensor/Layer0_RNN/Global/Affine", z)
        h = new["h"] = gru(w, "PerTensor/Layer0_RNN", features, s["h"], beta)
        new["c"] = None
        if depth > 1:
            seen = np.hstack([h, features]).mean(axis=0, keepdims=True)
            beta = dense(w, "PerTensor/Layer1_RNN/Affine", z) if depth > 2 else np.zeros([1, 3 * o["levels"][1]])
            new["c"] = gru(w, "PerTensor/Layer1_RNN", seen, s["c"], beta)
        updates.append(_update(w, o, h, scaled, s, new))
        after.append(new)
    if depth > 2:
        rows = np.vstack([s["c"] for s in after])
        seen = rows[-1:] if o["global_input"] == "last" else rows.mean(axis=0, keepdims=True)
        z = gru(w, "Layer2_RNN", seen, z, np.zeros([1, 3 * o["levels"][2]]))
    return updates, after, z


def _features(o, g, s, everything):
    new, scales = {"a": [], "m": []}, o["time_scales"]
    for j in range(scales):
        delta = s["d_i"] ** (0.5**j) if scales > 1 else 0.0
        a = (1 - delta) * g + delta * s["a"][j]
        q = s["d_s"] ** (0.5**j) if o["scale_decay_per_time_scale"] else s["d_s"]
        q = 0.0 if not np.any(s["m"][j]) else q
        new["a"].append(a)
        new["m"].append((1 - q) * (a**2 + 1e-12) + q * s["m"][j])
    scaled = [np.arcsinh(a / np.sqrt(m + 1e-16)) for a, m in zip(new["a"], new["m"], strict=True)]
    found = list(scaled)
    if o["gradient_products"]:
        found += [scaled[j] * scaled[j + 1] for j in range(scales - 1)]
    if o["log_mean_squares"]:
        logs = [np.log(m + 1e-16) for m in new["m"]]
        found += [one - sum(logs) / scales for one in logs]
    if o["relative_learning_rate"] != "none":
        found.append(s["lam"] - (everything if o["relative_learning_rate"] == "problem" else s["lam"].mean()))
    if o["extreme_learning_rate"]:
        found.append(np.maximum(s["lam"], 0) - np.maximum(np.log(1e-6) - s["lam"], 0))
    if o["learning_rate_shortcut"]:
        found.append(s["lam"] - np.log(1e-3))
    return new, np.hstack(scaled), np.hstack(found)


def _update(w, o, h, scaled, s, new):
    """The update; the decays and the learning rate go into `new`."""
    for key, name, learned, fixed in (
        ("d_s", "scl_decay", o["learn_scale_decay"], 0.93),
        ("d_i", "inp_decay", o["learn_input_decay"] and o["time_scales"] > 1, 0.89),
    ):
        logits = h @ w[f"{name}_weights"] + w[f"{name}_bias"] if learned else np.log(fixed / (1 - fixed))
        new[key] = sigmoid(logits + np.zeros([len(h), 1]))
    direction = h @ w["update_weights"]
    if o["gradient_shortcut"]:
        direction = direction + scaled @ w["PerTensor/GradsToDelta/Matrix"]
    new["lam"] = s["lam"]
    if not o["dynamic_learning_rates"]:
        return -direction
    star = np.clip(s["lam"] + h @ w["learning_rate_weights"] + w["learning_rate_bias"], -33, o["max_log_learning_rate"])
    mu = sigmoid(w["PerTensor/learning_rate_momentum_logit"])
    new["lam"] = mu * s["lam"] + (1 - mu) * star
    return -np.exp(star + w["PerTensor/param_stepsize_offset"]) * direction / np.sqrt(np.mean(direction**2) + 1e-16)


def stacked(states, z):
    """The parts of `ScaleState` but for its step number: rows of all tensors, one after the other."""
    count, empty = sum(len(s["h"]) for s in states), len(states)
    return [
        np.vstack([s["h"] for s in states]),
        np.vstack([s["c"] for s in states]) if states[0]["c"] is not None else np.zeros([empty, 0]),
        z if z is not None else np.zeros([1, 0]),
        *(np.vstack([s[key] for s in states]) for key in ("d_i", "d_s", "lam")),
        *(np.vstack([np.hstack(s[key]) for s in states]).reshape(count, -1) for key in ("a", "m")),
    ]
