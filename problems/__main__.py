"""`python -m problems`: lists the registered problems, each with the first line of its description."""

from problems import PROBLEMS

for _name, _factory in PROBLEMS.items():
    print(f"{_name:24} {(_factory.__doc__ or '').splitlines()[0]}")
