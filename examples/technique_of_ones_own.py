"""A technique of one's own: an optimizer that also learns to finish what Adam has begun.

    python -m examples.technique_of_ones_own

In half of the meta-epochs a run begins where Adam is after some steps. A technique is a class with a method `lessons`;
this one changes the start of a run. The table compares its student with a plain one.
"""

import dataclasses

import l2o_tf as l2o

l2o.import_tensorflow()  # without its start-up lines; before Keras, which would import it with them

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class AfterAdam(l2o.Technique):
    """Runs that begin where Adam is after `steps` steps, in a share `ratio` of the meta-epochs."""

    ratio: float = 0.5
    steps: int = 20

    def lessons(self, setting: l2o.Setting) -> list[l2o.Lesson]:
        """The lesson of the student's own trajectory, with other starts."""
        problem, adam = setting.problem, l2o.load("Adam:0.03")

        def init(seed):
            params, constants = problem.init(seed)
            state = adam.initial_state(params, seed)
            for index, batch in enumerate(tf.unstack(problem.sample(seed, self.steps))):
                with tf.GradientTape() as tape:
                    tape.watch(params)
                    loss = problem.loss(params, constants, batch)
                step = l2o.Step(tape.gradient(loss, params), params, loss, tf.constant(index), tf.constant(0))
                updates, state = adam.update(step, state)
                params = {name: params[name] + updates[name] for name in params}
            return params, constants

        changed = setting._replace(problem=problem._replace(init=init))
        return [lesson._replace(name="after Adam") for lesson in l2o.OwnTrajectory().lessons(changed)]


def main() -> None:
    """Meta-trains two students on the embedded digits, and prints how both do."""
    students = []
    for name, lessons in {"plain": [l2o.OwnTrajectory()], "mixed": [l2o.OwnTrajectory(), AfterAdam()]}.items():
        students.append(l2o.RNNprop(seed=0))
        students[-1].name = name
        trainer = l2o.MetaTrainer(students[-1], l2o.make_problem("digits"), lessons=lessons, curriculum=100)
        trainer.run(f"runs/technique_of_ones_own/{name}", epochs=60)
    task = l2o.make_problem("digits", mode="test")
    print(l2o.evaluate([*students, "Adam:0.03"], task, num_steps=200, num_runs=3).table())


if __name__ == "__main__":
    main()
