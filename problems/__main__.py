"""`python -m problems`: lists the registered problems, each with the first line of its description, and the sets."""

from problems import PROBLEM_SETS, PROBLEMS

for _name, _factory in PROBLEMS.items():
    print(f"{_name:34} {(_factory.__doc__ or '').splitlines()[0]}")
print("\nSets, of which each run gets one problem:")
for _name, _members in PROBLEM_SETS.items():
    print(f"{_name:40} {len(_members):4} problems")
