#!/bin/sh
# pytest-xdist 3.8.0 under pytest 9.2.0: `--dist loadgroup` takes no notice of `@pytest.mark.xdist_group`, without a word.
#
# Documented: "guarantees that all tests with same xdist_group name run in the same worker". Seen: the tests of one group
# run in both workers, as with `--dist load`, because xdist writes the group into an attribute of the test's node that
# pytest 9.2 no longer reads. What shares a server, a port or a file then runs twice at once. `--dist loadfile` holds.
# Under pytest 8.4.2 the same xdist keeps the group together.
#
# Ends with 0 while that is so, with 1 when it has changed. Takes about a minute.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/test_group.py" <<'TEST'
import os
import time

import pytest


@pytest.mark.xdist_group("one service")
@pytest.mark.parametrize("number", range(12))
def test_uses_the_service(number):
    time.sleep(0.2)
    with open("workers", "a") as workers:
        workers.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")
TEST

# Number of workers in which the twelve tests ran.
workers() {
    rm -f "$folder/workers"
    (cd "$folder" && "$1/bin/python" -m pytest -q -p no:cacheprovider -n 2 --dist "$2" >/dev/null)
    sort -u "$folder/workers" | wc -l | tr -d ' '
}

for version in 9.2.0 8.4.2; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check "pytest==$version" pytest-xdist==3.8.0
done
new=$(workers "$folder/9.2.0" loadgroup) files=$(workers "$folder/9.2.0" loadfile) old=$(workers "$folder/8.4.2" loadgroup)
echo "workers of one group: pytest 9.2.0 loadgroup $new, loadfile $files; pytest 8.4.2 loadgroup $old"
[ "$new" = 2 ] && [ "$files" = 1 ] && [ "$old" = 1 ]
